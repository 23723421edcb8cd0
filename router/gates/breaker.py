"""Stop calling a backend that keeps failing; probe it before trusting it again.

    closed --`in_a_row` failures in a row, or half of >= `least` calls in `window` s--> open
    open --after the cooldown--> half-open: at most `probes` calls at once
    half-open --`probes` successes--> closed; --one failure--> open, cooldown doubled to a ceiling

The window is ten buckets of counts, so its memory does not grow with traffic. A throttled or
invalid call counts neither way (`core/verdict.py`). A probe speaks for its own trip only: one
that ends after that trip was over says nothing.

Sources: Nygard, "Release It!"; resilience4j's sliding window; linkerd's consecutive failures.
"""

from __future__ import annotations

from functools import partial

from router.core.call import Call, Outcome
from router.core.errors import BreakerOpen
from router.core.gate import Clock, Release

BUCKETS = 10
_NEVER = -BUCKETS
"""A stamp that is outside the window at any time, the first seconds of the machine included."""


class Breaker:
    """Health of one backend. `state` is closed, open or half-open; `why` is the last trip."""

    def __init__(
        self,
        now: Clock,
        *,
        in_a_row: int = 5,
        window: float = 20.0,
        least: int = 20,
        share: float = 0.5,
        cooldown: float = 1.0,
        cooldown_max: float = 60.0,
        probes: int = 1,
    ) -> None:
        self._now = now
        self._in_a_row, self._least, self._share = in_a_row, least, share
        self._bucket = window / BUCKETS
        self._cooldown_min, self._cooldown_max = cooldown, cooldown_max
        self._probes = probes
        self._good, self._bad = [0] * BUCKETS, [0] * BUCKETS
        self._stamps = [_NEVER] * BUCKETS
        self._round = 0
        self._close()

    def _close(self) -> None:
        self._cooldown = self._cooldown_min
        self._failures = 0
        self._until: float | None = None
        self._turn()
        self._stamps = [_NEVER] * BUCKETS
        self.why = ""

    @property
    def state(self) -> str:
        if self._until is None:
            return "closed"
        return "open" if self._now() < self._until else "half-open"

    @property
    def retry_after(self) -> float:
        """Seconds until the next probe may go."""
        return 0.0 if self._until is None else max(0.0, self._until - self._now())

    def ready(self) -> bool:
        until = self._until
        return until is None or (self._probing < self._probes and self._now() >= until)

    def acquire(self, call: Call) -> Release:
        if self._until is None:
            return self._release
        if not self.ready():
            raise BreakerOpen(f"breaker open: {self.why}")
        self._probing += 1
        return partial(self._probed, self._round)

    def _release(self, outcome: Outcome) -> None:
        effect = outcome.verdict.breaker
        if effect == "ignore" or self._until is not None:
            return  # a call from before the trip says nothing new
        self._count(good=effect == "success")
        if effect == "success":
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= self._in_a_row:
            self._open(f"{self._failures} failures in a row, last: {outcome.verdict.name}")
            return
        good, bad = self._totals()
        if good + bad >= self._least and bad >= self._share * (good + bad):
            self._open(f"{bad} of {good + bad} calls failed, last: {outcome.verdict.name}")

    def _probed(self, turn: int, outcome: Outcome) -> None:
        if turn != self._round:
            return
        self._probing -= 1
        effect = outcome.verdict.breaker
        if effect == "success":
            self._passed += 1
            if self._passed >= self._probes:
                self._close()
        elif effect == "failure":
            self._cooldown = min(self._cooldown_max, self._cooldown * 2)
            self._open(f"probe failed: {outcome.verdict.name}")

    def _open(self, why: str) -> None:
        self.why = why
        self._turn()
        self._until = self._now() + self._cooldown

    def _turn(self) -> None:
        self._round += 1
        self._probing = self._passed = 0

    def _count(self, *, good: bool) -> None:
        stamp = int(self._now() / self._bucket)
        slot = stamp % BUCKETS
        if self._stamps[slot] != stamp:
            self._stamps[slot], self._good[slot], self._bad[slot] = stamp, 0, 0
        (self._good if good else self._bad)[slot] += 1

    def _totals(self) -> tuple[int, int]:
        oldest = int(self._now() / self._bucket) - BUCKETS
        live = [i for i in range(BUCKETS) if self._stamps[i] > oldest]
        return sum(self._good[i] for i in live), sum(self._bad[i] for i in live)
