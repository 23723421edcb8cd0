"""Hours of faults, one after the other: nothing may grow that does not shrink again.

Load runs all the time; each fault strikes for a while and is healed. Between two faults the router
is measured at rest, with no call under way, and once more when all is over. What is compared: the
least of the first third and of the last third of those measurements. What a fault leaves for a
while (connections that are idle) does not count; what never shrinks again raises the least.

    memory     resident bytes: at most `MORE` more
    sockets    open ones: at most `FEW` more
    files      open ones, sockets among them: at most `FEW` more
    threads    at most `FEW` more
    tasks      of its event loop, as its metrics say: at most `FEW` more
"""

import asyncio
import time
from pathlib import Path

from load_tests.chaos import books
from load_tests.chaos.checks import Check, honest, lossless
from load_tests.chaos.faults import NETWORK, VENDOR
from load_tests.chaos.load import Load, Seen, learn
from load_tests.chaos.place import Place, aside
from load_tests.chaos.programs import Ports, Use, use

CALLS = 20.0
WORKS, STRUCK, RESTS = 2.0, 2.0, 1.0
"""Seconds under load without a fault, with one, and without load."""
WARM = 90.0
"""Seconds that do not count: neither are all the records there yet that are kept in memory
(`server.decisions`, 1000), nor the threads."""
IDLE = 22.0
"""Seconds after which the router has closed connections that nobody uses: measured last of all."""
MORE, FEW = 8 * 1024 * 1024, 8


async def run(folder: Path, seconds: float) -> list[Check]:
    """Run for so long, and compare."""
    place = Place(folder / "soak", Ports(), slots=4)
    found, seen = list[tuple[Use, int]](), list[Seen]()
    try:
        await place.start()
        right = await learn(place.port)
        began, turn = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            fault = (NETWORK + VENDOR)[turn % len(NETWORK + VENDOR)]
            load = Load(f"soak-{turn}", place, right, fault.headers)
            load.start(CALLS)
            await asyncio.sleep(WORKS)
            await fault.strike(place)
            await asyncio.sleep(STRUCK)
            await fault.heal(place)
            await load.stop()
            await asyncio.sleep(RESTS)
            if time.monotonic() - began > min(WARM, seconds / 3):
                found.append(await _measured(place))
            seen += load.seen
            turn += 1
        await asyncio.sleep(IDLE)
        found.append(await _measured(place))
        checks = [lossless(seen, killed=False), honest(seen), *grown(found)]
        now = await aside(books.settled, place)
        checks.append(
            Check(
                "bill = settled, within the bounds of what is unknown",
                0 <= now.bill - now.settled <= now.bounds and not now.held,
                f"{now.bill / books.PICO:.6f} USD, {now.unknown} unknown attempts",
            )
        )
    finally:
        code = await place.stop()
    return [*checks, Check("the router stops when asked", code == 0, f"exit status {code}")]


async def _measured(place: Place) -> tuple[Use, int]:
    tasks = int(await aside(place.metric, "isocost_tasks"))
    return use(place.router.pid), tasks


def grown(found: list[tuple[Use, int]]) -> list[Check]:
    """What the last third of the measurements has more than the first."""
    kinds = {
        "memory": ([use.memory for use, _ in found], MORE),
        "sockets": ([use.sockets for use, _ in found], FEW),
        "files": ([use.files for use, _ in found], FEW),
        "threads": ([use.threads for use, _ in found], FEW),
        "tasks": ([tasks for _, tasks in found], FEW),
    }
    third = max(1, len(found) // 3)
    checks = []
    for name, (values, most) in kinds.items():
        early, late = min(values[:third]), min(values[-third:])
        checks.append(
            Check(
                f"no growth of {name}",
                late - early <= most,
                f"{early:,.0f}, later {late:,.0f}, in {len(found)} measurements",
            )
        )
    return checks
