"""Leave a backend alone until the moment it named.

A throttled answer (429, full queue) is no failure: it carries a retry moment (Retry-After), or
gets a short default that doubles while throttling goes on and is forgotten at the first success.
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
            self._until = max(self._until, self._now() + min(wait, self._ceiling))
        elif outcome.verdict is OK:
            self._next = self._default
