"""Did an ended call keep what its route owes.

    promise      judged                                   kept
    first_event  streams, where the route promises it     it came within the seconds
    answer       whole answers, where it is promised      it was ok within the seconds
    deadline     every call                               it was ok within its deadline

A call that the caller or a budget is to blame for (a bad body, a spent budget, a rate) says
nothing; nor does a missed deadline that the caller made shorter than the route's. One that failed
kept nothing. One whose client left says something only when it had waited longer than was promised.
Seconds count from the call's arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from router.core.call import Call
from router.core.ending import Ending
from router.core.verdict import CANCELLED, OK
from router.route import Route

Owed = Literal["first_event", "answer", "deadline"]
OWED: tuple[Owed, ...] = ("first_event", "answer", "deadline")


def judged(call: Call, ending: Ending, route: Route) -> Iterator[tuple[Owed, bool]]:
    """Each promise that the call tells something about, and whether it was kept."""
    promise = route.promise.first if call.stream else route.promise.answer
    if promise is not None:
        waited = first_event(call, ending) if call.stream else ending.seconds
        kept = _kept(ending, waited, promise[1], streamed=call.stream)
        if kept is not None:
            yield ("first_event" if call.stream else "answer"), kept
    kept = _kept(ending, ending.seconds, call.deadline - call.arrived, streamed=False)
    if kept is False and call.hurried and ending.seconds <= route.deadline:
        return  # its own deadline, which nobody promised
    if kept is not None:
        yield "deadline", kept


def first_event(call: Call, ending: Ending) -> float:
    """Seconds from arrival to the first event; of a stream that had none, all of its seconds."""
    attempts = ending.trail.attempts if ending.trail is not None else ()
    came = [a.began + a.first for a in attempts if a.first is not None]
    return min(came) - call.arrived if came else ending.seconds


def _kept(ending: Ending, waited: float, owed: float, *, streamed: bool) -> bool | None:
    """None: the call says nothing about it."""
    if ending.verdict is OK:
        return waited <= owed
    if streamed and ending.first is not None:
        return waited <= owed  # what came after it is not what was promised
    if ending.verdict is CANCELLED:
        return False if waited > owed else None
    blameless = 400 <= ending.status < 500
    return None if blameless else False
