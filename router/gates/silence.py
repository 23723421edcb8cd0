"""Leave a backend out that answers nothing any more, before its calls have run out of time.

    overdue   a call that waits longer than TIMES what it should take (FLOOR seconds at least)
    silent    LEAST calls are overdue that were asked after every call that has been answered

A backend that hangs fails nobody until the calls there run out of time; by then a busy router has
sent it many more, which all have to fail over at once. It is asked again as soon as those that
waited have ended; whether it is well is then the breaker's to say. One slow answer among others is
no silence.
"""

from __future__ import annotations

from itertools import islice
from math import inf

from router.core.gate import Clock

TIMES, FLOOR, LEAST = 2.5, 0.3, 3
SEEN = 32
"""Of those that wait longest, as many are looked at."""


class Silence:
    """The calls of one backend that wait for an answer, or for the first event of one."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._waiting: dict[int, tuple[float, float]] = {}
        self._heard = -inf
        """When the youngest call that was answered had been asked."""
        self._number = 0

    def ask(self, seconds: float) -> int:
        """A call is sent that should take *seconds*; what `heard` is told."""
        self._number += 1
        now = self._now()
        self._waiting[self._number] = (now, now + max(FLOOR, TIMES * seconds))
        return self._number

    def heard(self, number: int, *, answered: bool) -> None:
        """That call waits no more. Never raises."""
        asked, _ = self._waiting.pop(number)
        if answered and asked > self._heard:
            self._heard = asked

    def ready(self) -> bool:
        """Whether it still answers, as far as can be told."""
        if len(self._waiting) < LEAST:
            return True
        now, late = self._now(), 0
        for asked, due in islice(self._waiting.values(), SEEN):
            if asked <= self._heard:
                continue
            if now < due:
                return True
            late += 1
            if late == LEAST:
                return False
        return True
