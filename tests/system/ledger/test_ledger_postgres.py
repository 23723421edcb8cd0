"""PostgreSQL: the store's moves against the reference; a server that is stopped or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psutil
import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from router.ledger.budget import Budget, Budgets, Scope
from router.ledger.database import address, driver, upgrade
from router.ledger.ledger import Ledger
from router.ledger.record import Ask, Hold, Reserve, StoreDown
from router.ledger.statements import Statement
from router.ledger.store import Store
from tests.unit.ledger_model.machine import LedgerMachine

from .conftest import Books
from .postgres import Postgres, postgres

TEAM = Scope("team", "a")
pytestmark = [pytest.mark.system]


def test_the_store_on_postgresql_does_what_the_reference_says(server: Postgres):
    url = address(server.create("machine"))
    upgrade(url)

    class OnPostgres(LedgerMachine):
        def fresh(self) -> Store:
            connection = driver(url)
            connection.connect()
            connection.alone(Statement("TRUNCATE budget, reservation, frozen", 0), ())
            return Store(connection)

    run_state_machine_as_test(
        OnPostgres, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


def test_two_whose_clocks_differ_see_each_other_in_a_rolling_window(server: Postgres):
    """They stand in different buckets, so neither waits for the other's row."""
    url = address(server.create("buckets"))
    upgrade(url)
    barrier, rounds = Barrier(2), 150

    def reserve(who: int) -> list[bool]:
        connection = driver(url)
        connection.connect()
        store, now = Store(connection), 1_790_000_000.0 + who * 60
        budgets = Budgets([Budget(Scope("key", "*"), "20m", 1)])
        granted = []
        for turn in range(rounds):
            scopes = (Scope("key", str(turn)),)
            ask = Ask(f"{who} {turn}", "c", 1, "x", 1, now + 60, now + 60, scopes)
            barrier.wait()
            [result], _ = store.run([Reserve(ask, budgets.places(scopes, now), now)])
            granted.append(isinstance(result, Hold))
        connection.close()
        return granted

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(reserve, range(2))
    assert [a + b for a, b in zip(one, other, strict=True)] == [1] * rounds


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Postgres, Books]]:
    """A server that a test may stop, with a replica that has to live with that."""
    with postgres() as server:
        books = Books(server.url(), tmp_path / "bill", 10**9)
        upgrade(address(books.store))
        yield server, books
        for replica in books.replicas:
            replica.kill()
            replica.wait()
            if replica.stdout is not None:
                replica.stdout.close()


def _grows(books: Books, lines: int) -> None:
    """Wait until the vendor billed *lines* calls more."""
    goal, until = len(books.billed()) + lines, time.monotonic() + 30
    while len(books.billed()) < goal:
        assert time.monotonic() < until, "nothing is sent any more"
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_server_that_is_stopped_and_started_under_load(alone: tuple[Postgres, Books], mode: str):
    """`immediate` is a crash. Nothing hangs, nothing is overspent, it recovers by itself."""
    server, books = alone
    replica = books.start(seconds=9.0, timeout=0.5, pace=0.01, stay=True)
    books.ready(replica)
    _grows(books, 20)
    server.stop(mode)
    time.sleep(1.0)
    sent = len(books.billed())
    time.sleep(0.3)
    assert len(books.billed()) == sent, "sent without a store"
    server.start()
    _grows(books, 20)
    seen = books.seen(replica)
    assert seen["down"] > 0
    assert seen["recovered"] > 0
    assert seen["longest"] < 0.5 + 2.0
    asyncio.run(books.balance())


def test_a_server_that_hangs_under_load(alone: tuple[Postgres, Books]):
    """Its processes are stopped where they are: connections stay open and say nothing."""
    server, books = alone
    replica = books.start(seconds=9.0, timeout=0.5, pace=0.01, stay=True)
    books.ready(replica)
    _grows(books, 20)
    master = psutil.Process(server.pid)
    frozen = [master, *master.children(recursive=True)]
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)
        sent = len(books.billed())
        time.sleep(0.5)
        assert len(books.billed()) == sent, "sent without a store"
    finally:
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)
    _grows(books, 20)
    seen = books.seen(replica)
    assert seen["down"] > 0
    assert seen["recovered"] > 0
    assert seen["longest"] < 0.5 + 2.0
    asyncio.run(books.balance())


async def test_a_connection_that_hangs_for_ever_is_given_up(server: Postgres):
    """The server's process for it is stopped and stays so; another connection takes its place."""
    store = server.create("hanging")
    ledger = await Ledger.open(store, [Budget(TEAM, "total", 100)], timeout=0.5)
    master = psutil.Process(server.pid)
    theirs = {p.pid for p in master.children()} - await asyncio.to_thread(_others, server)
    try:
        await ledger.reserve(_ask("first"), dispatched=True)
        for pid in theirs:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(StoreDown):
            await ledger.reserve(_ask("second"), dispatched=True)
        assert time.monotonic() - began < 0.5 + 2.0
        async with asyncio.timeout(30):
            while not await _granted(ledger):  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.05)
    finally:
        for pid in theirs:
            os.kill(pid, signal.SIGCONT)
        await ledger.close()


def _others(server: Postgres) -> set[int]:
    """The server's processes that serve no ledger."""
    with psycopg.connect(server.url()) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name <> 'isocost ledger'"
        ).fetchall()
    return {pid for (pid,) in found}


def _ask(id_: str) -> Ask:
    now = time.time()
    return Ask(id_, "c", 1, "x", 1, now + 60, now + 60, (TEAM,))


async def _granted(ledger: Ledger) -> bool:
    try:
        await ledger.reserve(_ask(f"later {time.time()}"), dispatched=True)
    except StoreDown:
        return False
    return True
