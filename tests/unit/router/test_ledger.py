"""The ledger on SQLite: what is held, refused, undone, told; and what happens while it is away."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.ledger import books
from router.ledger.budget import Budget, Scope
from router.ledger.database import engine
from router.ledger.ledger import Ledger
from router.ledger.record import Ask, Bill, Event, OverBudget, PriceFrozen, StoreDown
from router.ledger.writer import Timing

TEAM = Scope("team", "a")
GLOBAL = Scope("global")


class Tried:
    """A ledger, what it told, and its books."""

    def __init__(self, ledger: Ledger, events: list[Event]) -> None:
        self.ledger, self.events, self.count = ledger, events, 0
        self.engine = engine(ledger.url)

    def ask(self, bound: int, *scopes: Scope, price: str = "", expires: float = 60.0) -> Ask:
        self.count += 1
        now = time.time()
        return Ask(
            f"r{self.count}",
            "c",
            1,
            "x",
            bound,
            now + expires,
            now + 600,
            scopes or (TEAM, GLOBAL),
            price=price,
        )

    async def sums(self) -> dict[str, tuple[int, int]]:
        await self.ledger.written()
        rows = books.budgets(self.engine, time.time())
        return {row.kind: (row.held, row.posted) for row in rows}

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - what is waited for is in the store
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(folder: Path, *budgets: Budget, **options: Any) -> AsyncIterator[Tried]:
    events: list[Event] = []
    options.setdefault("timing", Timing(poll=0.05, sweep=0.0, prune=0.0))
    ledger = await Ledger.open(
        str(folder / "ledger.db"), budgets, on_event=events.append, **options
    )
    try:
        yield Tried(ledger, events)
    finally:
        await ledger.close()


MONTH = (Budget(TEAM, "month", 100), Budget(GLOBAL, "total", 150))


async def test_a_hold_becomes_its_cost(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        hold = await it.ledger.reserve(it.ask(60))
        assert await it.sums() == {"team": (60, 0), "global": (60, 0)}
        assert await it.ledger.dispatch(hold)
        assert not await it.ledger.dispatch(hold)
        it.ledger.settle(hold, 45, '{"tokens":9}')
        it.ledger.settle(hold, 45)
        assert await it.sums() == {"team": (0, 45), "global": (0, 45)}
        [attempt] = books.attempts(it.engine, ["S"])
        assert (attempt.cost, attempt.units) == (45, '{"tokens":9}')
        assert not books.audit(it.engine)


async def test_a_settlement_waits_for_the_end_of_its_turn(tmp_path: Path):
    """So a call's record, written in the same turn, is there before it: no settled call is lost."""
    async with opened(tmp_path, *MONTH) as it:
        hold = await it.ledger.reserve(it.ask(60), dispatched=True)
        it.ledger.settle(hold, 45)
        time.sleep(0.1)  # noqa: ASYNC251 - the writer had all the time it needs
        assert not books.attempts(it.engine, ["S"])
        await it.ledger.written()
        assert len(books.attempts(it.engine, ["S"])) == 1


async def test_a_rolling_window_is_shown_as_one(tmp_path: Path):
    """What stands in its buckets is added up, until the oldest of it leaves."""
    clock = [time.time() // 60 * 60]
    rolling = Budget(TEAM, "20m", 100), Budget(GLOBAL, "20m", 200)
    async with opened(tmp_path, *rolling, now=lambda: clock[0]) as it:
        for bound in (30, 20):
            await it.ledger.reserve(it.ask(bound), dispatched=True)
            clock[0] += 60
        await it.ledger.reserve(it.ask(40, GLOBAL), dispatched=True)
        shown = {row.kind: row for row in books.standing(it.engine, clock[0])}
        assert {kind: (row.held, row.limit) for kind, row in shown.items()} == {
            "team": (50, 100),
            "global": (90, 200),
        }
        assert shown["team"].start == clock[0] - 120
        assert shown["team"].ends == clock[0] - 120 + 60 + 1200
        later = {row.kind: row.held for row in books.standing(it.engine, clock[0] + 1200)}
        assert later == {"global": 40}


async def test_all_budgets_or_none(tmp_path: Path):
    """What the team's budget refuses is not held in the global one."""
    async with opened(tmp_path, *MONTH) as it:
        await it.ledger.reserve(it.ask(70), dispatched=True)
        with pytest.raises(OverBudget) as refused:
            await it.ledger.reserve(it.ask(31))
        no = refused.value
        assert (no.scope, no.window, no.limit, no.used, no.bound) == (TEAM, "month", 100, 70, 31)
        assert no.resets_at is not None
        assert no.resets_at > time.time()
        assert await it.sums() == {"team": (70, 0), "global": (70, 0)}


async def test_what_arrives_together_is_admitted_to_the_last_cent(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        asks = [it.ledger.reserve(it.ask(7), dispatched=True) for _ in range(50)]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert sum(1 for r in results if not isinstance(r, Exception)) == 100 // 7
        assert sum(1 for r in results if isinstance(r, OverBudget)) == 50 - 100 // 7


async def test_only_scopes_with_a_budget_concern_a_call(tmp_path: Path):
    async with opened(tmp_path, Budget(Scope("key", "*"), "day", 5)) as it:
        assert it.ledger.scopes(team="a", route="chat", backend="x") == ()
        assert it.ledger.scopes(key="k", team="a") == (Scope("key", "k"),)
        it.ledger.configure([*MONTH])
        assert it.ledger.scopes(key="k", team="a") == (GLOBAL, TEAM)


@pytest.mark.parametrize("known", [True, False])
async def test_who_is_cancelled_between_answer_and_reading_holds_nothing(
    tmp_path: Path, *, known: bool
) -> None:
    """The store has done it and said so, in the loop or in its thread; the caller leaves before it
    reads that."""
    async with opened(tmp_path, Budget(GLOBAL, "total", 100)) as tried:
        if known:
            tried.ledger.release(await tried.ledger.reserve(tried.ask(60, GLOBAL)))
            await tried.ledger.written()
        finish = tried.ledger._finish

        def answered(jobs: Any, events: Any) -> None:
            finish(jobs, events)
            if any(job.future is not None for job in jobs):
                task.cancel()

        tried.ledger._finish = answered  # type: ignore[method-assign]
        tried.ledger._turn._finished = answered  # type: ignore[union-attr]
        task = asyncio.create_task(tried.ledger.reserve(tried.ask(60, GLOBAL), dispatched=True))
        with pytest.raises(asyncio.CancelledError):
            await task
        tried.ledger._finish = finish  # type: ignore[method-assign]
        tried.ledger._turn._finished = finish  # type: ignore[union-attr]
        assert (await tried.sums())["global"] == (0, 0)


async def test_who_leaves_while_reserving_holds_nothing(tmp_path: Path):
    """Whenever it is cancelled: before, while or after the store has done it."""
    async with opened(tmp_path, *MONTH) as it:
        for turn in range(40):
            task = asyncio.create_task(it.ledger.reserve(it.ask(100), dispatched=True))
            for _ in range(turn % 8):
                await asyncio.sleep(0.0005)
            task.cancel()
            [result] = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(result, BaseException):
                it.ledger.release(result, unsent=True)
            await it.ledger.written()
            await asyncio.sleep(0)
            assert (await it.sums()).get("team", (0, 0)) == (0, 0)


async def test_after_the_fence_only_who_knows_gets_it_back(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        hold = await it.ledger.reserve(it.ask(60), dispatched=True)
        it.ledger.release(hold)
        assert (await it.sums())["team"] == (60, 0)
        it.ledger.release(hold, unsent=True)
        assert (await it.sums())["team"] == (0, 0)


async def test_what_nobody_knows_is_captured_and_reconciled(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        one, two = [await it.ledger.reserve(it.ask(50), dispatched=True) for _ in range(2)]
        it.ledger.capture(one)
        it.ledger.capture(two)
        assert (await it.sums())["team"] == (0, 100)
        bills = [Bill(one.ask.id, 20), Bill(two.ask.id, None), Bill("nobody", 5)]
        assert await it.ledger.reconcile(bills) == [True, True, False]
        assert (await it.sums())["team"] == (0, 20)
        assert await it.ledger.reconcile(bills) == [False, False, False]
        assert not books.audit(it.engine)


async def test_the_sweep_lets_go_what_was_not_sent_and_takes_what_was(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        await it.ledger.reserve(it.ask(30))
        sent = await it.ledger.reserve(it.ask(50), dispatched=True)
        assert await it.ledger.sweep() == 0
        assert await it.ledger.sweep(time.time() + 61) == 1
        assert (await it.sums())["team"] == (50, 0)
        assert await it.ledger.sweep(time.time() + 601) == 1
        assert (await it.sums())["team"] == (0, 50)
        it.ledger.settle(sent, 10)
        assert (await it.sums())["team"] == (0, 10)


async def test_the_sweep_comes_by_itself(tmp_path: Path):
    timing = Timing(poll=0.05, sweep=0.05, prune=0.0)
    async with opened(tmp_path, *MONTH, timing=timing) as it:
        await it.ledger.reserve(it.ask(30, expires=0.1))
        await it.until(lambda: books.attempts(it.engine, ["X"]))
        assert await it.sums() == {"team": (0, 0), "global": (0, 0)}


async def test_a_cost_above_its_bound_freezes_the_price(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        hold = await it.ledger.reserve(it.ask(10, price="openai/gpt"), dispatched=True)
        it.ledger.settle(hold, 25)
        assert (await it.sums())["team"] == (0, 25)
        assert it.ledger.frozen("openai/gpt")
        assert [(e.kind, e.amount) for e in it.events] == [("bound", 25)]
        with pytest.raises(PriceFrozen):
            await it.ledger.reserve(it.ask(1, price="openai/gpt"))
        await it.ledger.reserve(it.ask(1))
        async with opened(tmp_path) as other:
            assert other.ledger.frozen("openai/gpt")
            assert books.thaw(it.engine, "openai/gpt")
            await it.until(lambda: not it.ledger.frozen("openai/gpt"))
            await it.until(lambda: not other.ledger.frozen("openai/gpt"))


async def test_each_share_of_a_limit_is_told_once(tmp_path: Path):
    budget = Budget(TEAM, "month", 100, alerts=(0.5, 0.8, 1.0))
    async with opened(tmp_path, budget) as it, opened(tmp_path, budget) as other:
        for who in (it, other, it, other, it):
            ask = who.ask(20, TEAM)
            ask = Ask(f"{ask.id}-{id(who)}", *[getattr(ask, f) for f in ask.__struct_fields__[1:]])
            who.ledger.settle(await who.ledger.reserve(ask, dispatched=True), 20)
            await who.ledger.written()
        await it.ledger.written()
        told = sorted((e.share, e.amount) for e in it.events + other.events)
        assert told == [(0.5, 60), (0.8, 80), (1.0, 100)]


async def test_a_refusal_tells_the_last_share(tmp_path: Path):
    async with opened(tmp_path, Budget(TEAM, "24h", 100)) as it:
        for _ in range(3):
            with pytest.raises(OverBudget) as refused:
                await it.ledger.reserve(it.ask(101, TEAM))
        assert refused.value.window == "24h"
        assert [(e.kind, e.share) for e in it.events] == [("budget", 1.0)]


async def test_a_budget_that_only_warns_refuses_nothing(tmp_path: Path):
    async with opened(tmp_path, Budget(TEAM, "day", 10, at_limit="warn")) as it:
        hold = await it.ledger.reserve(it.ask(50, TEAM), dispatched=True)
        it.ledger.settle(hold, 50)
        assert (await it.sums())["team"] == (0, 50)
        assert [e.share for e in it.events] == [1.0]


async def test_a_rolling_window_says_when_it_frees(tmp_path: Path):
    clock = [1_790_000_000.0]
    budget = Budget(TEAM, "20m", 100)  # buckets of a minute
    async with opened(tmp_path, budget, now=lambda: clock[0]) as it:
        hold = await it.ledger.reserve(it.ask(100, TEAM), dispatched=True)
        it.ledger.settle(hold, 100)
        clock[0] += 300
        with pytest.raises(OverBudget) as refused:
            await it.ledger.reserve(it.ask(1, TEAM))
        resets = refused.value.resets_at
        assert resets is not None
        clock[0] = resets - 1
        with pytest.raises(OverBudget):
            await it.ledger.reserve(it.ask(1, TEAM))
        clock[0] = resets
        await it.ledger.reserve(it.ask(100, TEAM))


def _blocked(it: Tried) -> sqlite3.Connection:
    """Somebody else holds the file: it cannot be written to."""
    blocker = sqlite3.connect(str(it.ledger.url.database), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    return blocker


async def test_while_the_store_is_away_nothing_hangs_and_settlements_wait(tmp_path: Path):
    async with opened(tmp_path, *MONTH, timeout=0.3) as it:
        hold = await it.ledger.reserve(it.ask(60), dispatched=True)
        blocker = _blocked(it)
        it.ledger.settle(hold, 40)
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(StoreDown):
                await it.ledger.reserve(it.ask(1), dispatched=True)
        assert time.monotonic() - started < 5 * 0.3 + 2
        await it.until(lambda: not it.ledger.up)
        blocker.close()
        await it.until(lambda: it.ledger.up)
        # Nothing is left of what was refused, and what was settled is written.
        assert await it.sums() == {"team": (0, 40), "global": (0, 40)}


async def test_when_the_answer_to_a_commit_is_lost_nothing_is_left_of_a_reserve(tmp_path: Path):
    """Who asked is told that the store is away, and sends nothing: what was written is undone."""
    lost: list[str] = []

    def probe(point: str) -> None:
        if point in lost:
            lost.remove(point)
            raise sqlite3.OperationalError("the answer is lost")

    async with opened(tmp_path, *MONTH, probe=probe) as it:
        hold = await it.ledger.reserve(it.ask(20))
        for point in ("before commit", "after commit"):
            for move in (
                lambda: it.ledger.reserve(it.ask(30), dispatched=True),
                lambda: it.ledger.dispatch(hold),
            ):
                lost.append(point)
                with pytest.raises(StoreDown):
                    await move()
                assert not lost
                await it.until(lambda: it.ledger.up)
        assert (await it.sums())["team"] == (0, 0)
        # A settlement whose answer is lost is written again, and counts once.
        hold = await it.ledger.reserve(it.ask(20), dispatched=True)
        lost.append("after commit")
        it.ledger.settle(hold, 15)
        await it.until(lambda: not lost and it.ledger.up)
        assert (await it.sums())["team"] == (0, 15)


async def test_an_allowance_bridges_and_is_written_afterwards(tmp_path: Path):
    async with opened(tmp_path, *MONTH, timeout=0.3, allowance=50) as it:
        await it.ledger.reserve(it.ask(1))
        blocker = _blocked(it)
        holds = [await it.ledger.reserve(it.ask(20), dispatched=True) for _ in range(2)]
        with pytest.raises(StoreDown):
            await it.ledger.reserve(it.ask(20), dispatched=True)
        it.ledger.settle(holds[0], 15)
        it.ledger.settle(holds[0], 15)
        it.ledger.capture(holds[1])
        assert it.ledger.allowance_left == 50 - 15 - 20
        blocker.close()
        await it.until(lambda: it.ledger.up)
        await it.until(lambda: it.ledger.allowance_left == 50)
        assert (await it.sums())["team"] == (1, 35)
        assert not books.audit(it.engine)
        assert not it.events


async def test_an_allowance_beyond_the_limit_is_written_and_not_given_back(tmp_path: Path):
    async with opened(tmp_path, *MONTH, timeout=0.3, allowance=50) as it:
        await it.ledger.reserve(it.ask(90), dispatched=True)
        blocker = _blocked(it)
        hold = await it.ledger.reserve(it.ask(30), dispatched=True)
        it.ledger.settle(hold, 25)
        blocker.close()
        await it.until(lambda: it.events)
        assert (await it.sums())["team"] == (90, 25)
        overruns = [e.amount for e in it.events if e.kind == "overrun"]
        assert overruns == [90 + 30 - 100]
        assert it.ledger.allowance_left == 25


async def test_what_waits_too_long_is_told_and_left_to_the_sweep(tmp_path: Path):
    async with opened(tmp_path, *MONTH, timeout=0.2, backlog=2) as it:
        holds = [await it.ledger.reserve(it.ask(10), dispatched=True) for _ in range(4)]
        blocker = _blocked(it)
        for hold in holds:
            it.ledger.settle(hold, 1)
        await it.until(lambda: it.events)
        blocker.close()
        await it.until(lambda: it.ledger.up)
        assert [e.kind for e in it.events] == ["dropped"]
        assert (await it.sums())["team"] == (20, 2)
        assert await it.ledger.sweep(time.time() + 700) == 2
        assert (await it.sums())["team"] == (0, 22)


async def test_closing_writes_what_is_queued(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        hold = await it.ledger.reserve(it.ask(60), dispatched=True)
        it.ledger.settle(hold, 33)
    rows = books.budgets(it.engine, time.time())
    assert {(row.held, row.posted) for row in rows} == {(0, 33)}
    with pytest.raises(StoreDown):
        await it.ledger.reserve(it.ask(1))


async def test_closing_while_the_store_is_away_ends(tmp_path: Path):
    async with opened(tmp_path, *MONTH, timeout=0.2) as it:
        blocker = _blocked(it)
        hold = asyncio.create_task(it.ledger.reserve(it.ask(60)))
        await asyncio.sleep(0)
        started = time.monotonic()
        await it.ledger.close(grace=0.3)
        assert time.monotonic() - started < 5
        with pytest.raises(StoreDown):
            await hold
        blocker.close()


async def test_a_bad_move_fails_alone(tmp_path: Path):
    """An id that exists already cannot be reserved; its neighbours in the batch can."""
    async with opened(tmp_path, *MONTH) as it:
        ask = it.ask(5)
        await it.ledger.reserve(ask)
        tries = [it.ledger.reserve(a) for a in (it.ask(5), ask, it.ask(5))]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert [isinstance(r, sqlite3.IntegrityError) for r in results] == [False, True, False]
        assert it.ledger.up
        assert (await it.sums())["team"] == (15, 0)
        assert not books.audit(it.engine)


async def test_amounts_below_zero_are_refused(tmp_path: Path):
    async with opened(tmp_path, *MONTH) as it:
        with pytest.raises(ValueError, match="below 0"):
            await it.ledger.reserve(it.ask(-1))
        hold = await it.ledger.reserve(it.ask(1), dispatched=True)
        with pytest.raises(ValueError, match="below 0"):
            it.ledger.settle(hold, -1)


async def test_a_store_that_cannot_be_opened_is_not_up_and_refuses(tmp_path: Path):
    (tmp_path / "ledger.db").write_bytes(b"this is no database" * 100)
    async with opened(tmp_path, *MONTH, timeout=0.2) as it:
        assert not it.ledger.up
        with pytest.raises(StoreDown):
            await it.ledger.reserve(it.ask(1))


async def test_what_ended_long_ago_is_pruned_and_what_is_open_is_not(tmp_path: Path):
    clock = [1_790_000_000.0]
    timing = Timing(poll=0.05, sweep=0.0, prune=0.05, keep=1000.0)
    async with opened(
        tmp_path, Budget(TEAM, "20m", 500), now=lambda: clock[0], timing=timing
    ) as it:
        holds = [await it.ledger.reserve(it.ask(10, TEAM), dispatched=True) for _ in range(3)]
        it.ledger.settle(holds[0], 5)
        it.ledger.capture(holds[1])
        await it.ledger.written()
        clock[0] += 5000
        await it.until(lambda: not books.attempts(it.engine, ["S"]))
        assert len(books.attempts(it.engine, ["C", "D"])) == 2
        it.ledger.settle(holds[2], 5)
        it.ledger.settle(holds[1], 5)
        await it.ledger.written()
