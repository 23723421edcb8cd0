"""Which cells are run where. Each lane has a place of its own and runs one cell after the other.

quiet   every fault while hardly anybody calls, every task once; an outage of all; one fault that
        lasts; then faults of the house, before a router of two workers whose money is in
        PostgreSQL, and before TorchServe
busy    every fault at 80% and at 150% of what own can serve, streams that go on elsewhere, and the
        overload
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from load_tests.chaos import books, cell, checks, house, outage, overload, postgres, torchserve
from load_tests.chaos.cell import Pace, Rate, Result
from load_tests.chaos.checks import Check
from load_tests.chaos.faults import LONG, NETWORK, RESUMES, VENDOR, Fault
from load_tests.chaos.load import Right, learn
from load_tests.chaos.page import Run
from load_tests.chaos.place import Place, aside
from load_tests.chaos.programs import Ports
from load_tests.chaos.proxy import Proxy

IDLE = Rate("idle", 2.0)
SLOTS = 4
JUMP = 2
"""Hours by which the wall clock jumps."""
LONGEST = 70.0
"""Seconds after which the outcome of a call that was cut off counts as known."""
Tell = Callable[[Result], None]


class Lanes:
    """One run of the full matrix; `tell` hears of each cell as it ends."""

    def __init__(self, folder: Path, tell: Tell, only: str = "") -> None:
        self._folder, self._tell, self._only = folder, tell, only
        self._ports, self._pace = Ports(), Pace()
        self._rates = {"idle": IDLE}
        self._measured = asyncio.Event()
        self.capacity = 0.0
        self.results: list[Result] = []
        self.closing: list[Check] = []

    async def run(self) -> Run:
        """Everything."""
        before = os.getloadavg()[2]
        await asyncio.gather(self._busy(), self._quiet())
        if not self._only:
            self.closing += _of_all(self.results)
        day, cores = time.strftime("%Y-%m-%d"), os.cpu_count()
        load = f"load average {os.getloadavg()[2]:.1f} on {cores} cores, {before:.1f} before"
        return Run(day, load, self.capacity, self.results, self.closing)

    async def _busy(self) -> None:
        place = Place(self._folder / "busy", self._ports, slots=SLOTS)
        try:
            await place.start()
            right = await learn(place.port)
            self.capacity = await overload.capacity(place)
            self._rates["80%"] = Rate("80%", 0.8 * self.capacity)
            self._rates["150%"] = Rate("150%", 1.5 * self.capacity, share=1 / 1.5)
            self._measured.set()
            if not self._only or self._only in "overload":
                self._found(await overload.run(place, right, self.capacity, self._pace))
            await self._cells(place, right, [(f, ("80%", "150%")) for f in NETWORK + VENDOR])
            await self._cells(place, right, [(f, ("80%",)) for f in RESUMES])
            await self._close(place, "busy")
        finally:
            self._measured.set()
            await place.stop()

    async def _quiet(self) -> None:
        place = Place(self._folder / "quiet", self._ports, slots=SLOTS)
        try:
            await place.start()
            right = await learn(place.port)
            await self._measured.wait()
            await self._cells(place, right, [(f, ("idle",)) for f in NETWORK + VENDOR])
            await self._cells(place, right, _of_one_process())
            await self._cells(place, right, [(f, ("80%",)) for f in LONG])
            if not self._only or self._only in "all refuse":
                self._found(await outage.run(place, right, self._pace))
            await self._close(place, "quiet", jumped=True)
        finally:
            await place.stop()
        await self._stored()
        wanted = [fault for fault in torchserve.faults() if self._wanted(fault)]
        if wanted and torchserve.there():
            await self._served(wanted)

    async def _stored(self) -> None:
        """Two workers, and PostgreSQL behind a proxy."""
        store, proxy = await aside(postgres.Postgres, self._ports.one()), None
        try:
            await aside(store.start)
            proxy = Proxy(self._ports.one(), store.port)
            await proxy.start()
            place = Place(
                self._folder / "stored",
                self._ports,
                slots=SLOTS,
                workers=2,
                store=store.url(proxy.port),
            )
            try:
                await place.start()
                right = await learn(place.port)
                await self._cells(place, right, _of_two_workers(store, proxy))
                await self._close(place, "stored")
            finally:
                await place.stop()
        finally:
            if proxy is not None:
                proxy.stop()
            await aside(store.stop)

    async def _served(self, faults: list[Fault]) -> None:
        """A real TorchServe with a real model."""
        place = torchserve.Served(self._folder / "served", self._ports)
        try:
            await place.start()
            right = await place.learn()
            for fault in faults:
                rate = Rate("80%", torchserve.CALLS)
                self._found(await cell.run(place, right, fault, rate, torchserve.PACE))
        finally:
            await place.stop()

    async def _cells(
        self, place: Place, right: Right, wanted: list[tuple[Fault, tuple[str, ...]]]
    ) -> None:
        for fault, rates in wanted:
            for rate in rates:
                if self._wanted(fault):
                    self._found(await cell.run(place, right, fault, self._rates[rate], self._pace))

    async def _close(self, place: Place, name: str, *, jumped: bool = False) -> None:
        """Once the outcome of every call is known, the reconciled books equal the bill.

        *jumped*: the router's clock did.
        """
        end = time.monotonic() + LONGEST
        # Nobody calls any more, so the bill says everything.
        words = ["--clock", f"{JUMP}h", "--until", "2999-01-01"] if jumped else []
        now = await aside(books.reconcile, place, *words)
        while (now.unknown or now.held) and time.monotonic() < end:
            await asyncio.sleep(8.0)
            now = await aside(books.reconcile, place, *words)
        self.closing.append(
            Check(
                f"books = bill, reconciled ({name})",
                now.posted == now.bill and not now.unknown and not now.held,
                f"{now.posted / books.PICO:.6f} and {now.bill / books.PICO:.6f} USD, "
                f"{now.unknown} unknown, {now.held} held",
            )
        )

    def _wanted(self, fault: Fault) -> bool:
        return self._only in f"{fault.target} {fault.name}"

    def _found(self, result: Result) -> None:
        self.results.append(result)
        self._tell(result)


def _of_all(results: list[Result]) -> list[Check]:
    """What must hold over all cells together, beside what must hold in each."""
    dead = [r for r in results if r.dead]
    owed, right = sum(r.owed for r in dead), sum(r.right for r in dead)
    share = right / owed if owed else 1.0
    return [
        Check(
            f"a dependency is dead, another may serve: answered right >= {checks.RESCUED:.1%}",
            share >= checks.RESCUED,
            f"{right:,} of {owed:,} calls, streams among them",
        ),
        checks.sparing(sum(r.calls for r in results), sum(r.extra for r in results)),
    ]


def _of_one_process() -> list[tuple[Fault, tuple[str, ...]]]:
    return [
        # At idle only: what own has no room for would be paid, and is refused.
        (house.disk_full("own"), ("idle",)),
        (house.disk_full("a"), ("idle", "80%")),
        (house.clock_jump(JUMP), ("80%",)),
        (house.clock_jump(-JUMP), ("80%",)),
        (house.budget_used_up(), ("80%",)),
    ]


def _of_two_workers(store: postgres.Postgres, proxy: Proxy) -> list[tuple[Fault, tuple[str, ...]]]:
    return [
        (house.worker_killed("own"), ("80%",)),
        (house.worker_killed("a"), ("80%",)),
        (house.store_killed(store, "own"), ("idle",)),
        (house.store_killed(store, "a"), ("80%",)),
        (house.store_hangs(proxy, "own"), ("idle",)),
        (house.store_hangs(proxy, "a"), ("80%",)),
    ]
