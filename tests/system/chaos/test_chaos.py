"""A smaller fault matrix and a short soak: real routers, sandboxes and proxies, one fault at a time.

`make chaos` runs all of it. Here orders and counts are asserted, and times with much room, for
the machine may be busy.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.chaos import cell, house, soak
from load_tests.chaos.cell import Pace, Rate, Result
from load_tests.chaos.faults import NETWORK, RESUMES, VENDOR, Fault
from load_tests.chaos.load import learn
from load_tests.chaos.place import Place
from load_tests.chaos.programs import Ports

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
PACE = Pace(calm=0.7, fault=1.5, back=30.0, slack=1.0)
RATE = Rate("80%", 16.0)
SMALL = (
    ("own", "refuse"),
    ("a", "reset mid-stream"),
    ("a", "500"),
    ("a", "429, Retry-After 1 s"),
    ("a", "wrong schema"),
)


def chosen() -> list[Fault]:
    known = {(fault.target, fault.name): fault for fault in NETWORK + VENDOR}
    return [*[known[one] for one in SMALL], *RESUMES, house.disk_full("own")]


async def run(folder: Path, faults: list[Fault], **how: float) -> list[Result]:
    place = Place(folder / "place", Ports(), slots=4, deadline=10.0, cooldown=0.5, **how)
    try:
        await place.start()
        right = await learn(place.port)
        return [await cell.run(place, right, fault, RATE, PACE) for fault in faults]
    finally:
        assert await place.stop() == 0, place.router.log.read_text()[-3000:]


def broken(results: list[Result]) -> list[str]:
    return [
        f"{result.fault} of {result.target}: {check.name}: {check.figures}"
        for result in results
        for check in result.checks
        if not check.held
    ]


async def test_callers_are_served_while_a_dependency_is_broken(tmp_path: Path) -> None:
    """Right answers from another backend, honest ends, books that equal the bill, then normal again."""
    results = await run(tmp_path, chosen())
    assert not broken(results)
    assert all(result.owed > 10 for result in results)


async def test_a_killed_worker_costs_only_the_calls_that_it_had(tmp_path: Path) -> None:
    """The other worker serves on, the killed one comes back, no call has two records."""
    results = await run(tmp_path, [house.worker_killed("own")], workers=2)
    assert not broken(results)


async def test_a_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    """Fault after fault for 20 seconds: memory, files, threads and tasks stay what they were."""
    checks = await soak.run(tmp_path, 20.0)
    assert not [f"{check.name}: {check.figures}" for check in checks if not check.held]
