"""Extra attempts may be at most a share of the traffic, so that failing over cannot storm.

    tokens += share per call, + `per_second` s;  an extra attempt takes one
    tokens <= `per_second` x RESERVE + share x calls of the last WINDOW seconds

So in any t seconds at most

    `per_second` x (t + RESERVE) + share x calls of these t and of the 2 x WINDOW seconds before

extra attempts are sent, and a backend that has rested is not stormed with what it saved up. Held
per backend that would receive the extra attempt; its calls are all those whose plan has it, each
once, for one that is asked second would else have no allowance when the first fails. Also held per
route for its hedges: without anything per second, where a few may be saved up (`ceiling`).

Source: finagle RetryBudget, whose deposits live 10 s (here longer).
"""

from __future__ import annotations

from router.core.call import Call, Outcome
from router.core.errors import RetriesSpent
from router.core.gate import Clock, Release

RESERVE = 10.0
WINDOW = 30.0
"""Seconds that a share of a call may be saved: a backend that hangs fails its calls all at once."""


class Retries:
    """The allowance of extra attempts: `deposit` once a call, `acquire` per extra attempt."""

    def __init__(
        self, now: Clock, *, share: float = 0.1, per_second: float = 1.0, ceiling: float = 0.0
    ) -> None:
        """*ceiling*: tokens that may be saved up in any case."""
        self._now = now
        self.share = share
        self._per_second, self._ceiling = per_second, ceiling
        # Ten seconds' worth to start with: the first failure of a quiet service may fail over.
        self._tokens = RESERVE * per_second
        self._seen = self._turned = now()
        self._count = self._before = 0

    def _most(self, now: float) -> float:
        """Tokens that may be held; the window before counts as far as it is in the last one."""
        age = now - self._turned
        if age >= WINDOW:
            self._before = self._count if age < 2 * WINDOW else 0
            self._count, self._turned = 0, now - age % WINDOW
            age %= WINDOW
        recent = self._count + self._before * (1.0 - age / WINDOW)
        return max(self._ceiling, RESERVE * self._per_second + self.share * recent)

    def _fill(self) -> float:
        now = self._now()
        earned = (now - self._seen) * self._per_second
        self._seen = now
        self._tokens = min(self._most(now), self._tokens + earned)
        return self._tokens

    def deposit(self) -> None:
        """A call that may come here: it earns its share of an extra attempt."""
        self._count += 1
        self._tokens += self.share

    def ready(self) -> bool:
        return self._fill() >= 1.0

    @property
    def left(self) -> float:
        """Extra attempts that may be sent now."""
        return self._fill()

    def acquire(self, call: Call) -> Release:
        if self._fill() < 1.0:
            raise RetriesSpent("the allowance of extra attempts is used up")
        self._tokens -= 1.0
        return self._release

    def _release(self, outcome: Outcome) -> None:
        if outcome.verdict.name == "rejected":  # never sent: it did not burden the backend
            self._tokens += 1.0
