"""Admit as many calls as are served without a growing queue; refuse the least critical first.

Gradient2, once per window of at least half a second and five samples:

    slope = clamp(1.5 * usual / measured, 0.5, 1)
    aim   = limit * slope + sqrt(limit)

    in use, aim above the limit   limit = aim                      no queue: grow by a root of it
    in use, aim below it          limit -= 0.2 * (limit - aim)     a queue: shrink smoothly
    less than half used, slow     limit = 2 * used                 take back the unused room
    less than half used, calm     back to the ceiling in 15 s      what an old queue taught is stale
    any dropped                   limit *= clamp(1 - 5 * share dropped, 0.5, 1), after the above,
                                  the share as if 20 more had ended well: one lost call is no flood

Only calls that were let in under the limit of now are measured, so it moves once per round trip
and no cut is repeated for calls from before it. Always within floor .. ceiling: the floor is what
the place is known to serve together, so that no error of measurement takes a machine out of use.
What is measured is not the same for both places:

    a backend    `Admission`: seconds of service over what is usual for the size of the call, so
                 long requests are no queue. For streams until the first event, so a slow reader is
                 none. Where the concurrency is known, seconds are divided by how far the calls in
                 flight passed it: a queue that the plan chose to wait in is no fault of the
                 backend, only a service that became slower is.
    the process  `Process`: how long a ready event waits for the loop, told from outside. Seconds of
                 calls would be wrong: a vendor that answers ten times slower takes ten times as
                 many calls in flight, and the process serves them as well as before.

`usual` is a mean over 600 s in which there were samples: time without any counts as 10 s at most,
and calls that ran nearly alone on a machine made for many do not count. So neither an idle night
nor its quick lone calls make the morning look slow. It falls by 5% a sample while it is twice too
high, as after a long fault.

Each criticality may enter while less than its share of the limit is in flight:

    critical_plus 100%   critical 95%   sheddable_plus 75%   sheddable 50%

rounded up. Nearly all calls are critical, so little is kept back from them; between them and the
rest there is room for the calls that arrive in the time that one call takes to free its place.

Sources: Netflix concurrency-limits, Gradient2Limit and WindowedLimit; Beyer et al., "Site
Reliability Engineering" (2016), ch. 21 (criticality); under-pressure of Node's fastify (delay of
the event loop as the measure of a process).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import sqrt

import msgspec

from router.core.call import Call, Criticality, Outcome
from router.core.errors import Shed
from router.core.gate import Clock, Release
from router.core.verdict import REJECTED
from router.gates.meter import size_class

SHARES: Mapping[Criticality, int] = {
    "critical_plus": 100,
    "critical": 95,
    "sheddable_plus": 75,
    "sheddable": 50,
}
"""Percent of the limit below which a call of this criticality may enter."""
FLOOR = 64
"""Calls in progress that a process may always have."""
TOLERANCE = 1.5
WORST = 3.0
"""Times the usual that one sample may weigh: a single outlier is no queue."""
WINDOW, LEAST, PATIENCE = 0.5, 5, 5.0
"""Seconds and samples of a window; seconds after which fewer samples are enough."""
WELL = 20
RETURN = 15.0
LONG, GAP, WARM = 600.0, 10.0, 10
LONGEST_WAIT = 60.0
"""Seconds that a refused caller is told to wait at most."""


class Gradient(msgspec.Struct):
    """A limit within floor..ceiling, which starts at the ceiling, and the window under way."""

    floor: int
    ceiling: int
    limit: float
    updated: float
    moves: int = 0
    """Grows when a limit that is felt moves: a call let in before says nothing of it."""
    opened: float = 0.0
    seen: int = 0
    dropped: int = 0
    total: float = 0.0
    used: int = 0

    def note(self, ratio: float, used: int, now: float, *, dropped: bool = False) -> bool:
        """One sample, *ratio* times the usual, with *used* in flight; True when the limit moved."""
        if not self.seen:
            self.opened = now
        self.seen += 1
        if dropped:
            self.dropped += 1
        else:
            # This is run for every call, and min() and max() cost more.
            self.total += ratio if ratio < WORST else WORST  # noqa: FURB136
        if used > self.used:  # noqa: PLR1730
            self.used = used
        open_for = now - self.opened
        if open_for < WINDOW or (self.seen < LEAST and open_for < PATIENCE):
            return False
        self._close(now)
        return True

    def _close(self, now: float) -> None:
        answered, lost = self.seen - self.dropped, self.dropped / (self.seen + WELL)
        measured = self.total / answered if answered else 0.0
        slope = 1.0 if measured <= TOLERANCE else max(0.5, TOLERANCE / measured)
        limit, used = self.limit, self.used
        if 2 * used >= limit:
            aim = limit * slope + sqrt(limit)
            limit = aim if aim > limit else limit - 0.2 * (limit - aim)
        elif slope < 1.0:
            limit = 2.0 * used
        else:
            limit += (self.ceiling - limit) * min(1.0, (now - self.updated) / RETURN)
        limit *= max(0.5, 1.0 - 5.0 * lost)
        limit = min(max(limit, self.floor), self.ceiling)
        if limit != self.limit and 2 * used >= self.limit:
            self.moves += 1
        self.limit, self.updated = limit, now
        self.seen = self.dropped = self.used = 0
        self.total = 0.0


class Usual(msgspec.Struct):
    """Seconds that calls of one size take without a queue."""

    mean: float = 0.0
    count: int = 0
    seen: float = 0.0

    def ratio(self, seconds: float, now: float) -> float:
        """How many times the usual *seconds* are; they become part of it."""
        mean = self.mean
        found = seconds / mean if mean > 0.0 else 1.0
        if self.count < WARM:
            self.count += 1
            weight = 1.0 / self.count
        else:
            gap = now - self.seen
            weight = gap / LONG if gap < GAP else GAP / LONG
            if found < 0.5 and weight < 0.05:
                weight = 0.05
        self.mean += (seconds - mean) * weight
        self.seen = now
        return found


class Process:
    """Calls in progress in this process. `count` are, `limit` may be."""

    def __init__(
        self, now: Clock, *, floor: int = FLOOR, ceiling: int = 2048, lag: float = 0.05
    ) -> None:
        """*lag*: seconds that an event may wait for the loop before fewer calls are let in."""
        self._now, self.lag = now, lag
        self.count = 0
        self._held = 0.0
        self._rule = Gradient(floor, ceiling, float(ceiling), now())
        self._fit()

    @property
    def limit(self) -> int:
        return int(self._rule.limit)

    def configure(self, ceiling: int, lag: float, *, adaptive: bool) -> None:
        """Other settings; what is in flight stays."""
        self.lag = lag
        self._bound(FLOOR if adaptive else ceiling, ceiling)

    def _bound(self, floor: int, ceiling: int) -> None:
        rule, floor = self._rule, min(floor, ceiling)
        if (rule.floor, rule.ceiling) != (floor, ceiling):
            # What was learnt within other bounds says little of these.
            rule.floor, rule.ceiling, rule.limit = floor, ceiling, float(ceiling)
            self._fit()

    def _fit(self) -> None:
        limit = self.limit
        self._rooms = {level: -(-share * limit // 100) for level, share in SHARES.items()}

    def ready(self) -> bool:
        """For calls that say nothing of their criticality."""
        return self.count < self._rooms["critical"]

    def room(self, criticality: Criticality) -> bool:
        """Whether a call of this criticality would be let in now."""
        return self.count < self._rooms[criticality]

    def retry_after(self, criticality: Criticality) -> float:
        """Seconds until enough calls should have ended; places come free at count / held."""
        surplus = self.count - self._rooms[criticality] + 1
        if surplus <= 0 or not self.count:
            return 0.0
        return min(LONGEST_WAIT, surplus * self._held / self.count)

    def acquire(self, call: Call) -> Release:
        beside = self.count + 1
        room = self._rooms[call.criticality]
        if beside > room:
            raise self._refusal(call.criticality, room)
        self.count = beside
        return partial(self._release, call, beside, self._rule.moves)

    def _refusal(self, criticality: Criticality, room: int) -> Shed:
        wait = self.retry_after(criticality)
        return Shed(
            f"too many calls are in progress: {self.count}, and those of criticality "
            f"{criticality} are let in below {room}; try again in {max(1.0, wait):.0f} s",
            retry_after=wait,
        )

    def _release(self, call: Call, beside: int, move: int, outcome: Outcome) -> None:
        self.count -= 1
        if outcome.verdict is not REJECTED:
            held = self._held
            self._held = held + (outcome.seconds - held) * 0.1 if held else outcome.seconds

    def felt(self, seconds: float) -> None:
        """An event has waited *seconds* for the loop. Told about ten times a second."""
        # At the lag that is allowed it is the tolerance times the usual.
        ratio = 1.0 + (TOLERANCE - 1.0) * seconds / self.lag
        if self._rule.note(ratio, self.count, self._now()):
            self._fit()


class Admission(Process):
    """Calls in flight at one backend. *concurrency* of them run at full speed; 0: not known."""

    def __init__(self, now: Clock, *, ceiling: int = 256, concurrency: int = 0) -> None:
        super().__init__(now, floor=min(max(1, concurrency), ceiling), ceiling=ceiling)
        self._usual: dict[int, Usual] = {}
        self._concurrency = concurrency

    def resize(self, ceiling: int, concurrency: int) -> None:
        """Other settings; what is in flight stays."""
        self._concurrency = concurrency
        self._bound(max(1, concurrency), ceiling)

    def _release(self, call: Call, beside: int, move: int, outcome: Outcome) -> None:
        super()._release(call, beside, move, outcome)
        effect, rule = outcome.verdict.limiter, self._rule
        if effect == "ignore" or move != rule.moves:
            return
        now = self._now()
        if effect == "dropped":
            moved = rule.note(0.0, beside, now, dropped=True)
        elif 2 * beside < rule.floor:
            return  # nearly alone: it says nothing of a crowd
        else:
            seconds, size = _served(call, outcome)
            if 0 < self._concurrency < beside:
                seconds *= self._concurrency / beside
            usual = self._usual.get(size)
            if usual is None:
                usual = self._usual[size] = Usual()
            moved = rule.note(usual.ratio(seconds, now), beside, now)
        if moved:
            self._fit()


def _served(call: Call, outcome: Outcome) -> tuple[float, int]:
    """Seconds that say how busy the backend was, and the size of call that they belong to."""
    first, usage = outcome.first, outcome.usage
    if first is not None:
        # Until a first event nothing of the output is made; sizes of their own, below zero.
        return first, -call.input_tokens.bit_length() - 1
    if usage is not None and (usage.input_tokens or usage.output_tokens):
        return outcome.seconds, size_class(usage.input_tokens, usage.output_tokens)
    return outcome.seconds, size_class(call.input_tokens, call.output_limit)
