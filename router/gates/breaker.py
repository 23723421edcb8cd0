"""Stop calling a backend that keeps failing; probe it before trusting it again.

    closed --`in_a_row` failures in a row, or `share` of >= `least` calls in `window` s bad--> open
    open --after the cooldown--> half-open: at most `probes` calls at once
    half-open --`probes` good ones--> closed; --a bad one--> open, cooldown doubled to a ceiling
    open, `probe_every` after the trip or after the last such probe: one call alone is let through
        --good--> half-open, and it counts;  --bad--> open, the cooldown goes on as it was
    all times x uniform(1 - JITTER, 1 + JITTER): replicas probe at other times

The cooldown says when as many calls as `probes` may be risked together. It grows with the fault, so
that a long one costs few calls; `probe_every` bounds how long its end stays unseen: a backend that
is well again is closed after probe_every x 1.2 and as long as `probes` calls take.

Bad is a call that failed, or whose answer (first event, of a stream) took longer than `slow`. The
window is ten buckets of counts, so its memory does not grow with traffic. A throttled or invalid
call counts neither way (`core/verdict.py`), nor does one that its caller's own hurry has cut. A
probe speaks for its own trip only: one that ends after that trip was over says nothing.

Sources: Nygard, "Release It!"; resilience4j's sliding window; linkerd's consecutive failures.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from router.core.call import Call, Outcome
from router.core.errors import BreakerOpen
from router.core.gate import Clock, Release

BUCKETS = 10
JITTER = 0.2
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
        slow: float | None = None,
        cooldown: float = 5.0,
        cooldown_max: float = 60.0,
        probe_every: float = 20.0,
        probes: int = 3,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """*slow* None: no answer is too slow. *draw* gives numbers of 0..1 for the jitter."""
        self._now, self._draw, self._slow = now, draw, slow
        self._in_a_row, self._least, self._share = in_a_row, least, share
        self._bucket = window / BUCKETS
        self._cooldown_min, self._cooldown_max = cooldown, cooldown_max
        self._probe_every, self._probes = probe_every, probes
        self._good, self._bad = [0] * BUCKETS, [0] * BUCKETS
        self._stamps = [_NEVER] * BUCKETS
        self._round = 0
        self._close()

    def _close(self) -> None:
        self._cooldown = self._cooldown_min
        self._failures = 0
        self._last_bad: float = _NEVER
        self._until: float | None = None
        self._alone = 0.0
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
        if self._until is None:
            return 0.0
        return max(0.0, min(self._until, self._alone) - self._now())

    @property
    def failing(self) -> float:
        """Share of the window's calls that were bad; 1.0 until it is closed again."""
        if self._until is not None:
            return 1.0
        if self._last_bad == _NEVER or self._now() - self._last_bad > BUCKETS * self._bucket:
            return 0.0
        good, bad = self._totals()
        return bad / (good + bad) if bad else 0.0

    def ready(self) -> bool:
        until = self._until
        if until is None:
            return True
        now = self._now()
        if now < until:
            return now >= self._alone and not self._probing
        return self._probing < self._probes

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
        slow = self._too_slow(outcome)
        self._count(good=effect == "success" and not slow)
        if effect == "success":
            self._failures = 0
            if not slow:
                return
        else:
            self._failures += 1
            if self._failures >= self._in_a_row:
                self._open(f"{self._failures} failures in a row, last: {outcome.verdict.name}")
                return
        good, bad = self._totals()
        if good + bad >= self._least and bad >= self._share * (good + bad):
            last = "too slow" if effect == "success" else outcome.verdict.name
            self._open(f"{bad} of {good + bad} calls failed or were too slow, last: {last}")

    def _too_slow(self, outcome: Outcome) -> bool:
        took = outcome.seconds if outcome.first is None else outcome.first
        return self._slow is not None and took > self._slow

    def _probed(self, turn: int, outcome: Outcome) -> None:
        if turn != self._round:
            return
        self._probing -= 1
        effect = outcome.verdict.breaker
        if effect == "ignore":
            return
        now = self._now()
        open_still = self._until is not None and now < self._until
        if effect == "success" and not self._too_slow(outcome):
            if open_still:
                self._until = now
            self._passed += 1
            if self._passed >= self._probes:
                self._close()
            return
        if open_still:
            self._alone = now + self._spread(self._probe_every)
            return
        self._cooldown = min(self._cooldown_max, self._cooldown * 2)
        how = "was too slow" if effect == "success" else f"failed: {outcome.verdict.name}"
        self._open(f"probe {how}")

    def _open(self, why: str) -> None:
        self.why = why
        self._turn()
        now = self._now()
        self._until = now + self._spread(self._cooldown)
        self._alone = now + self._spread(self._probe_every)

    def _spread(self, seconds: float) -> float:
        return seconds * (1.0 + JITTER * (2.0 * self._draw() - 1.0))

    def _turn(self) -> None:
        self._round += 1
        self._probing = self._passed = 0

    def _count(self, *, good: bool) -> None:
        stamp = int(self._now() / self._bucket)
        slot = stamp % BUCKETS
        if self._stamps[slot] != stamp:
            self._stamps[slot], self._good[slot], self._bad[slot] = stamp, 0, 0
        (self._good if good else self._bad)[slot] += 1
        if not good:
            self._last_bad = self._now()

    def _totals(self) -> tuple[int, int]:
        oldest = int(self._now() / self._bucket) - BUCKETS
        live = [i for i in range(BUCKETS) if self._stamps[i] > oldest]
        return sum(self._good[i] for i in live), sum(self._bad[i] for i in live)
