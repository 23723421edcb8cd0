"""One cell of the matrix: calm, a fault under load, the way back to normal, and the checks.

calm        `Pace.calm` s: who serves, while all is well
fault       `Pace.fault` s; each other task is asked once in it
back        until the calls that ended within 1 s were served as in the calm, and each other task
            once; 30 s at most
rest        calls under way end, bill and books are compared and reconciled
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from load_tests.chaos import books, checks
from load_tests.chaos.checks import Check
from load_tests.chaos.faults import Fault
from load_tests.chaos.kinds import Kind
from load_tests.chaos.load import Load, Right, Seen
from load_tests.chaos.place import Place, aside

BUSY = 5.0
"""Calls a second from which on a breaker sees enough of them to open."""
RECENT = 240.0
"""Seconds of the journal that are looked at: a cell and the minute before it."""
WINDOW = 1.0
"""Seconds of calls that have to be as before."""
AGAIN = 2.0
"""Seconds until what another task lacked is looked for again: quicker, that would be a load."""


class Pace(Struct, frozen=True):
    """How long the parts take, in seconds; `slack` past a deadline; `back` at most."""

    calm: float = 2.0
    fault: float = 4.0
    back: float = 30.0
    slack: float = checks.SLACK


class Rate(Struct, frozen=True):
    """Calls a second, and what that is called; `share` of them is as much as own can serve."""

    name: str
    calls: float
    share: float = 1.0


class Result(Struct, kw_only=True):
    """What came of one cell."""

    fault: str
    target: str
    rate: str
    calls: int
    extra: int
    owed: int
    right: int
    refused: int
    broken: int
    back: float | str
    checks: list[Check]
    dead: bool = False
    """The dependency did nothing any more, and another one might serve."""

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


class Times(Struct):
    """Moments of a cell, monotonic: before and after the fault was made, when it was healed.

    Beside them its rate in calls a second, and the share that the target served before.
    """

    rate: float
    share: float = 1.0
    before: float = 0.0
    struck: float = 0.0
    healed: float = 0.0
    back: float | str = ""


async def run(place: Place, right: Right, fault: Fault, rate: Rate, pace: Pace) -> Result:
    """Run it, and heal whatever happens."""
    times, watched = Times(rate.calls), list[Check]()
    load = Load(_name(fault, rate), place, right, fault.headers, fault.kinds)
    load.start(rate.calls)
    await asyncio.sleep(pace.calm)
    # Past its capacity own serves all until its queue is long.
    times.share = min(rate.share, _share(load.seen, fault.target))
    times.before = time.monotonic()
    await fault.strike(place)
    times.struck = time.monotonic()
    try:
        for number, kind in enumerate(_also(place, fault)):
            load.send(kind, number)
        await asyncio.sleep(max(pace.fault, fault.lasts))
        watched = await fault.watch(place) if fault.watch else []
    finally:
        times.healed = time.monotonic()
        await fault.heal(place)
    times.back = await _back(place, load, fault, times, pace.back)
    await load.stop()
    judged = await _judged(place, load, fault, pace, times)
    judged.rate = rate.name
    judged.checks += watched
    return judged


def _also(place: Place, fault: Fault) -> tuple[Kind, ...]:
    """What is asked once, beside the load."""
    return () if fault.kinds else place.others


def _name(fault: Fault, rate: Rate) -> str:
    words = f"{fault.target}.{fault.name}.{rate.name}.{time.time():.0f}"
    return "".join(letter for letter in words if letter.isalnum() or letter == ".")


def _share(seen: Sequence[Seen], target: str) -> float:
    """Of the calls, those that the target served."""
    served = [s for s in seen if s.backend.startswith(f"{target}-")]
    return len(served) / len(seen) if seen else 1.0


async def _back(place: Place, load: Load, fault: Fault, times: Times, most: float) -> float | str:
    """Seconds until all was as before; else what was not, after *most* of them."""
    healed, kept = time.monotonic(), ""
    window, share = max(WINDOW, 3 / times.rate), times.share
    others = _also(place, fault)
    while (now := time.monotonic()) < healed + most:
        await asyncio.sleep(0.1)
        # Those that ended: of those that just began, the ones that wait would be missing.
        last = [s for s in load.seen if s.began >= healed and s.ended >= now - window]
        bad = [f"{s.kind} {s.outcome}" for s in last if s.outcome != "right"]
        served = _share(last, fault.target)
        if now - healed < window or len(last) < 2 or bad or served < 0.8 * share:
            kept = bad[0] if bad else f"{fault.target} serves {served:.0%}, before {share:.0%}"
            continue
        lacking = await _lacking(others, load, fault)
        if not lacking:
            return time.monotonic() - healed
        kept, others = next(iter(lacking.values())), tuple(lacking)
        await asyncio.sleep(AGAIN)
    return kept


async def _lacking(others: Sequence[Kind], load: Load, fault: Fault) -> dict[Kind, str]:
    """Of the other tasks, those not served right by the backend that is asked first, and how."""
    before = len(load.seen)
    await asyncio.gather(*[load.send(kind, number) for number, kind in enumerate(others)])
    kinds = {kind.name: kind for kind in others}
    return {
        kinds[s.kind]: f"{s.kind} {s.outcome} of {s.backend or 'nobody'}"
        for s in load.seen[before:]
        if s.kind in kinds
        and (s.outcome != "right" or not s.backend.startswith(f"{fault.target}-"))
    }


async def _judged(place: Place, load: Load, fault: Fault, pace: Pace, times: Times) -> Result:
    seen = load.seen
    money = await aside(_money, place)
    mine, now = {s.id for s in seen}, time.time()
    # The clock of those of this cell may have jumped.
    every = [r for r in place.records() if r["call_id"] in mine or r["ended"] > now - RECENT]
    records = [r for r in every if r["call_id"] in mine]
    sent = checks.attempts(records)
    found = [
        checks.once(seen, records, killed=fault.kills, unwritten=fault.unwritten),
        checks.lossless(seen, killed=fault.kills),
        checks.honest(seen),
        checks.punctual(seen, pace.slack),
        checks.thrifty(every, sent, place.setup.workers),
        checks.rare(seen, sent),
        *money,
        checks.recovered(times.back, pace.back),
        *_promised(seen, every, fault, times),
    ]
    extra = sum(attempt.kind != "first" for attempt in sent)
    if fault.lasts:
        found.append(checks.sparing(len(seen), extra))
    if fault.kinds:
        found.append(checks.resumed(seen, sent))
    owed = [s for s in seen if times.struck <= s.began < times.healed]
    count = Counter(s.outcome for s in owed if s.outcome != "right" or not s.late)
    return Result(
        fault=fault.name,
        target=fault.target,
        rate="",
        calls=len(seen),
        extra=extra,
        owed=len(owed),
        right=count["right"],
        refused=count["refused"],
        broken=count["broken"],
        back=times.back,
        checks=found,
        dead=fault.dead,
    )


def _promised(
    seen: Sequence[Seen], records: list[dict[str, Any]], fault: Fault, times: Times
) -> list[Check]:
    """What this fault must not do to callers, and what the breaker makes of it."""
    found = []
    if fault.rescued != "none":
        found.append(checks.rescued(seen, times.struck, times.healed, fault.rescued))
    if fault.trips and times.rate > BUSY:
        wall = time.time() - time.monotonic()
        backend, healed = f"{fault.target}-chat", wall + times.healed
        found.append(checks.opened(records, backend, wall + times.before, healed + 1))
        found.append(checks.closed(records, backend, healed))
    return found


def _money(place: Place) -> list[Check]:
    """Bill and books as they are now; what is unknown is reconciled when the place closes."""
    now = books.settled(place, held=place.killed)
    return [
        Check(
            "bill <= booked <= limit",
            now.bill <= now.posted + now.held <= now.limit,
            f"{now.bill / books.PICO:.6f} <= {(now.posted + now.held) / books.PICO:.6f} USD",
        ),
        Check(
            "nothing is held for ever",
            place.killed or not now.held,
            f"{now.held} pico-dollars held",
        ),
        Check(
            "bill = settled, within the bounds of what is unknown",
            0 <= now.bill - now.settled <= now.bounds + now.held,
            f"{now.unknown} unknown attempts",
        ),
    ]
