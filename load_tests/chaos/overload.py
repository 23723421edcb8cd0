"""More calls than own can serve, and nobody else may: what is too much is refused at once.

    capacity    calls a second that own serves when as many wait as it works on
    peak        right answers a second at 100% of it; goodput the same at 150%

A server that lets everybody wait past its capacity ends with none in time. So goodput at 150% must
stay at 90% of the peak. Then half of the calls are sheddable and half critical_plus: what is too
much is taken from the first half.
"""

import asyncio
import time
from statistics import median

from load_tests.chaos import checks
from load_tests.chaos.cell import Pace, Result
from load_tests.chaos.checks import Check
from load_tests.chaos.client import call
from load_tests.chaos.kinds import STREAM, WHOLE
from load_tests.chaos.load import Load, Right, Seen
from load_tests.chaos.place import Place

ALONE = {"x-isocost-route": "alone"}
KEPT = 0.9
FIGURE_SECONDS = 4.0
QUICK = 0.005
"""Seconds until a refusal."""
SERVED = 0.99
"""Share of the most critical calls that are served, where they alone are no overload."""


async def capacity(place: Place, seconds: float = 3.0) -> float:
    """Calls a second that own serves."""
    end, served = time.monotonic() + seconds, 0

    async def one(number: int) -> None:
        nonlocal served
        turn = number
        while time.monotonic() < end:
            asked = (STREAM, WHOLE)[turn % 2].ask(turn, 20.0, ALONE)
            got = await call(place.port, asked, f"capacity-{number}-{turn}", 20.0)
            served += got.status == 200 and time.monotonic() < end
            turn += 1

    await asyncio.gather(*[one(number) for number in range(2 * place.slots)])
    return served / seconds


async def run(place: Place, right: Right, full: float, pace: Pace) -> Result:
    """At 100% and then at 150% of *full*."""
    peak, _, _ = await _goodput(place, right, full, "peak")
    goodput, seen, shed = await _goodput(place, right, 1.5 * full, "over")
    mine = {s.id for s in seen}
    records = [r for r in place.records() if r["call_id"] in mine]
    right_ones = sum(s.outcome == "right" for s in seen)
    found = [
        checks.once(seen, records, killed=False, unwritten=False),
        checks.lossless(seen, killed=False),
        checks.honest(seen),
        checks.punctual(seen, pace.slack),
        Check(
            f"goodput at 150% >= {KEPT:.0%} of peak",
            goodput >= KEPT * peak,
            f"{goodput:.1f} and {peak:.1f} right answers a second",
        ),
    ]
    found.append(await _shed(place, right, full))
    found.append(
        Check(
            f"refused within {QUICK * 1000:.0f} ms", shed <= QUICK, f"{shed * 1000:.1f} ms, median"
        )
    )
    refused = [s for s in seen if s.outcome == "refused"]
    return Result(
        fault="overload, nobody else may serve"
        + (f" (refused after {shed * 1000:.1f} ms)" if refused else ""),
        target="own",
        rate="150%",
        calls=len(seen),
        extra=0,
        owed=len(seen),
        right=right_ones,
        refused=len(refused),
        broken=sum(s.outcome == "broken" for s in seen),
        back=0.0,
        checks=found,
    )


async def _shed(place: Place, right: Right, full: float) -> Check:
    """At 150% in two halves: the lowest criticality is shed, the highest one served."""
    shares = {}
    loads = {
        level: Load(
            f"{level}-{time.time():.0f}", place, right, ALONE | {"x-isocost-criticality": level}
        )
        for level in ("critical_plus", "sheddable")
    }
    for load in loads.values():
        load.start(0.75 * full)
    await asyncio.sleep(FIGURE_SECONDS)
    for level, load in loads.items():
        await load.stop()
        served = sum(s.outcome == "right" and not s.late for s in load.seen)
        shares[level] = served / len(load.seen)
    most, least = shares["critical_plus"], shares["sheddable"]
    return Check(
        f"the least critical are shed, >= {SERVED:.0%} of the most critical served",
        least < most >= SERVED,
        f"served: {most:.1%} of critical_plus, {least:.1%} of sheddable",
    )


async def _goodput(
    place: Place, right: Right, rate: float, name: str
) -> tuple[float, list[Seen], float]:
    """Right answers a second, the calls, and the median seconds until a refusal."""
    load = Load(f"{name}-{time.time():.0f}", place, right, ALONE)
    load.start(rate)
    await asyncio.sleep(1.0)  # until as many wait as there will
    began = time.monotonic()
    await asyncio.sleep(FIGURE_SECONDS)
    ended = time.monotonic()
    await load.stop()
    good = [s for s in load.seen if s.outcome == "right" and not s.late]
    shed = [s.ended - s.began for s in load.seen if s.outcome == "refused"]
    counted = sum(began <= s.ended < ended for s in good)
    return counted / (ended - began), load.seen, median(shed) if shed else 0.0
