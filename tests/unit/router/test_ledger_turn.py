"""Transactions in the loop's own thread: when, when not, and that the loop waits for nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from router.ledger.budget import Budget
from router.ledger.record import OverBudget, Settle
from router.ledger.turn import MOST, Turn
from router.ledger.writer import Job, Timing
from tests.unit.router.test_ledger import GLOBAL, TEAM, Tried, _blocked, opened

BUDGETS = (Budget(TEAM, "month", 10**6), Budget(GLOBAL, "24h", 10**6))

QUIET = Timing(poll=0.0, sweep=0.0, prune=0.0)
"""The writer's thread does nothing unasked."""


class Where:
    """Which thread committed, transaction by transaction."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self, point: str) -> None:
        if point == "after commit":
            self.threads.append(threading.get_ident())

    @property
    def in_loop(self) -> list[bool]:
        return [thread == threading.get_ident() for thread in self.threads]


async def made(it: Tried) -> None:
    """The rows of the windows are made, so that what follows may be done in the loop."""
    it.ledger.release(await it.ledger.reserve(it.ask(1)))
    await it.ledger.written()
    await it.until(lambda: not it.ledger._writer.turn.locked())


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_what_waits_for_the_disk_is_not_done_in_the_loop(
    tmp_path: Path, synchronous: Literal["NORMAL", "FULL"]
):
    """With NORMAL a reserve, the fence and a settlement are; with FULL none is."""
    where = Where()
    async with opened(tmp_path, *BUDGETS, probe=where, synchronous=synchronous, timing=QUIET) as it:
        await made(it)
        where.threads.clear()
        hold = await it.ledger.reserve(it.ask(60))
        assert await it.ledger.dispatch(hold)
        it.ledger.settle(hold, 45)
        await it.until(lambda: len(where.threads) == 3)
        assert where.in_loop == [synchronous == "NORMAL"] * 3
        assert (await it.sums())["team"] == (0, 45)


async def test_what_is_asked_in_one_turn_is_one_transaction(tmp_path: Path):
    """As many as the loop may do at once; more are done in its next turns."""
    where = Where()
    async with opened(tmp_path, *BUDGETS, probe=where, timing=QUIET) as it:
        await made(it)
        where.threads.clear()
        count = MOST + 10
        await asyncio.gather(*[it.ledger.reserve(it.ask(1)) for _ in range(count)])
        assert where.in_loop == [True, True]
        assert (await it.sums())["team"] == (count, 0)


async def test_the_loop_does_not_wait_for_another_process(tmp_path: Path):
    """While another writes the loop turns on; the attempt is held when it has ended."""
    async with opened(tmp_path, *BUDGETS) as it:
        await made(it)
        blocker = _blocked(it)
        task = asyncio.create_task(it.ledger.reserve(it.ask(60)))
        longest, until = 0.0, time.monotonic() + 0.2
        while time.monotonic() < until:
            began = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - began)
        assert not task.done()
        assert longest < 0.15
        blocker.close()
        await task
        assert (await it.sums())["team"] == (60, 0)


async def test_who_gets_no_room_is_looked_at_after_what_was_settled(tmp_path: Path):
    """What is about to be let go counts as free, and what does not fit then is refused."""
    async with opened(tmp_path, Budget(TEAM, "month", 100)) as it:
        await made(it)
        holds = [await it.ledger.reserve(it.ask(50), dispatched=True) for _ in range(2)]
        it.ledger.settle(holds[0], 10)
        await it.ledger.reserve(it.ask(40), dispatched=True)
        with pytest.raises(OverBudget):
            await it.ledger.reserve(it.ask(1), dispatched=True)
        assert (await it.sums())["team"] == (90, 10)


async def test_a_settlement_does_not_overtake_what_the_writer_has(tmp_path: Path):
    """What a process spent on its allowance is settled after it was reserved, never before."""
    async with opened(tmp_path, *BUDGETS, timeout=0.2, allowance=10**5) as it:
        await made(it)
        blocker = _blocked(it)
        await _down(it)
        holds = [await it.ledger.reserve(it.ask(100), dispatched=True) for _ in range(50)]
        blocker.close()
        for hold in holds:
            it.ledger.settle(hold, 70)
            await asyncio.sleep(0.001)
        await it.until(lambda: it.ledger.up)
        await asyncio.sleep(0.1)
        assert (await it.sums())["team"] == (0, 50 * 70)


async def test_what_the_writer_was_given_comes_first():
    """A settlement goes the same way as what it may belong to."""
    handed: list[Job] = []
    store = SimpleNamespace(known=lambda moves: True, run=lambda moves, **how: ([True], []))
    writer = SimpleNamespace(owes=True, wants=False, up=True, turn=threading.Lock())
    turn = Turn(
        store,  # type: ignore[arg-type]
        writer,  # type: ignore[arg-type]
        finished=lambda jobs, events: None,
        failed=lambda jobs: None,
        hand=handed.extend,
    )
    job = Job(Settle("r", 1, "", 0.0))
    turn.settle([job])
    assert handed == [job]
    writer.owes = False
    turn.settle([job])
    assert handed == [job]


async def _down(it: Tried) -> None:
    hold: Any = await it.ledger.reserve(it.ask(1), dispatched=True)
    assert hold.offline
    it.ledger.release(hold, unsent=True)
    await it.until(lambda: not it.ledger.up)


async def test_closing_leaves_nothing_that_was_to_be_settled(tmp_path: Path):
    async with opened(tmp_path, *BUDGETS) as it:
        holds = [await it.ledger.reserve(it.ask(9), dispatched=True) for _ in range(3 * MOST)]
        for hold in holds:
            it.ledger.settle(hold, 7)
    async with opened(tmp_path, *BUDGETS) as again:
        assert (await again.sums())["team"] == (0, 7 * 3 * MOST)


async def test_the_log_of_the_file_is_copied_now_and_then(tmp_path: Path):
    """It stays small however much is written, for no commit copies it any more."""
    async with opened(tmp_path, *BUDGETS) as it:
        for _ in range(40):
            holds = [await it.ledger.reserve(it.ask(1), dispatched=True) for _ in range(50)]
            for hold in holds:
                it.ledger.settle(hold, 0)
            await it.ledger.written()
        assert (tmp_path / "ledger.db-wal").stat().st_size < 16 * 2**20
        assert (tmp_path / "ledger.db").stat().st_size > 2**18
