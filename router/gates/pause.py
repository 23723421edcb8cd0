"""Leave a backend alone until the moment it named.

    until = now + what the backend said (Retry-After and its like), at most `ceiling`
    throttled without such a word: now + a short default, doubled while throttling goes on

A throttled answer (429, DeepL's 456, a full queue) is no failure, but what it says holds; so does a
moment that a failure names (503 with Retry-After). The doubling is forgotten at the first success.
"""

from __future__ import annotations

from router.core.call import Call, Outcome
from router.core.errors import Paused
from router.core.gate import Clock, Release
from router.core.verdict import OK, THROTTLED


class Pause:
    """Throttling of one backend, seen from here."""

    def __init__(self, now: Clock, *, default: float = 0.1, ceiling: float = 60.0) -> None:
        self._now = now
        self._default, self._ceiling = default, ceiling
        self._next = default
        self._until = float("-inf")

    @property
    def retry_after(self) -> float:
        return max(0.0, self._until - self._now())

    def ready(self) -> bool:
        return self._now() >= self._until

    def acquire(self, call: Call) -> Release:
        if not self.ready():
            raise Paused(f"asked to wait {self.retry_after:.1f} s more")
        return self._release

    def _release(self, outcome: Outcome) -> None:
        if outcome.verdict is THROTTLED:
            wait = outcome.retry_after
            if wait is None:
                wait, self._next = self._next, min(self._ceiling, self._next * 2)
            self._wait(wait)
        elif outcome.verdict.breaker == "failure" and outcome.retry_after is not None:
            self._wait(outcome.retry_after)
        elif outcome.verdict is OK:
            self._next = self._default

    def _wait(self, seconds: float) -> None:
        self._until = max(self._until, self._now() + min(seconds, self._ceiling))
