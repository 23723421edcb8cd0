"""Cap the calls in flight at one backend: a call over the cap is refused, never queued."""

from __future__ import annotations

from router.core.call import Call, Outcome
from router.core.errors import Overloaded
from router.core.gate import Release


class InFlight:
    """Slots of one backend; `count` are taken."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    def ready(self) -> bool:
        return self.count < self.limit

    def acquire(self, call: Call) -> Release:
        if self.count >= self.limit:
            raise Overloaded(f"all {self.limit} slots are taken")
        self.count += 1
        return self._release

    def _release(self, outcome: Outcome) -> None:
        self.count -= 1
