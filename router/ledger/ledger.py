"""The ledger as the router's loop sees it: reserve, dispatch, settle, release, and the rest.

Every amount is integer pico-dollars, every time unix seconds. What waits for the store waits for
*timeout* seconds at most and then raises StoreDown; if the move is done after all, it is undone.
Settling never waits: it is queued, and repeated until it is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from msgspec import structs

from .allowance import Allowance, Spent
from .budget import Budget, Budgets, Scope
from .database import address, driver, upgrade
from .record import (
    Ask,
    Bill,
    Capture,
    Dispatch,
    Event,
    Hold,
    PriceFrozen,
    Reconcile,
    Release,
    Reserve,
    Settle,
    StoreDown,
    Sweep,
)
from .store import Store, _silent
from .turn import Turn
from .writer import BATCH, LINGER, Job, Timing, Writer

TICK = 0.05
"""Seconds between looks at who has waited too long."""
COLLECT = 0.005
"""Seconds in which moves that nobody waits for are collected, so that one waking is for many."""


class Ledger:
    """One per process and loop. Made by `await Ledger.open(...)`, ended by `await close()`."""

    def __init__(
        self,
        where: str,
        budgets: Iterable[Budget] = (),
        *,
        timeout: float = 1.0,
        allowance: int = 0,
        backlog: int = 100_000,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        timing: Timing | None = None,
        now: Callable[[], float] = time.time,
        on_event: Callable[[Event], None] = lambda event: None,
        on_change: Callable[[], None] = lambda: None,
        probe: Callable[[str], None] = _silent,
    ) -> None:
        """Raises ValueError when *where* or the budgets cannot be.

        *on_event* is told what a person should know; *on_change* that keys changed in the store.
        Both are called in the loop. *probe* is told the points of a transaction, for tests.
        """
        self.url = address(where)
        self.budgets = Budgets(budgets)
        self._now, self._timeout = now, timeout
        self._on_event, self._on_change = on_event, on_change
        self._allowance = Allowance(allowance)
        self._frozen: frozenset[str] = frozenset()
        self._waiting: dict[Job, None] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._outbox: list[Job] = []
        self._handing: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        patience = max(0.05, timeout / 2)
        connection = driver(self.url, patience=patience, synchronous=synchronous)
        self._store = Store(connection, probe=probe)
        self._writer = Writer(
            self._store,
            lambda: upgrade(self.url),
            finished=lambda jobs, events: self._tell(self._finish, jobs, events),
            changed=lambda frozen: self._tell(self._change, frozen),
            now=now,
            timing=timing or Timing(),
            backlog=backlog,
        )
        self._turn = None
        if connection.prompt:
            self._turn = Turn(
                self._store,
                self._writer,
                finished=self._finish,
                failed=self._lost,
                hand=lambda jobs: self._hand(*jobs),
            )
        self._writer.start()

    @classmethod
    async def open(cls, where: str, budgets: Iterable[Budget] = (), **options: Any) -> Ledger:
        """A ledger that has tried to reach its store; `up` says whether it did.

        Raises ValueError as the constructor does. A store that is away is no error: the ledger
        goes on trying.
        """
        ledger = cls(where, budgets, **options)
        await asyncio.to_thread(ledger._writer.ready.wait, 30.0)
        await asyncio.sleep(0)
        return ledger

    @property
    def up(self) -> bool:
        """The store was reached when last asked."""
        return self._writer.up

    @property
    def allowance_left(self) -> int:
        return self._allowance.left

    def configure(self, budgets: Iterable[Budget]) -> None:
        """Use other budgets from now on; what is held stays where it is held."""
        self.budgets = Budgets(budgets)

    def scopes(
        self, *, key: str = "", team: str = "", route: str = "", backend: str = ""
    ) -> tuple[Scope, ...]:
        """The scopes of an attempt that have a budget. None: it needs no transaction for them."""
        asked = [Scope("global")]
        asked += [Scope("team", team)] if team else []
        asked += [Scope("key", key)] if key else []
        asked += [Scope("route", route)] if route else []
        asked += [Scope("backend", backend)] if backend else []
        return self.budgets.concern(asked)

    def frozen(self, price: str) -> bool:
        """Whether the bound of this price entry was once too low, as last polled."""
        return price in self._frozen

    async def reserve(self, ask: Ask, *, dispatched: bool = False) -> Hold:
        """Hold the bound in all budgets of the attempt, or in none.

        *dispatched*: pass the fence in the same transaction; bytes may be sent when it returns.
        Raises OverBudget, PriceFrozen, StoreDown; ValueError for a bound below 0.
        """
        if ask.bound < 0:
            raise ValueError("A bound cannot be below 0.")
        price = ask.price or ask.backend
        if price in self._frozen:
            raise PriceFrozen(
                f"Price entry {price!r} is frozen: a call cost more than its bound. "
                "Correct the price, then thaw it."
            )
        now = self._now()
        places = self.budgets.places(ask.scopes, now)
        try:
            hold: Hold = await self._do(Reserve(ask, places, now, dispatched))
        except StoreDown:
            # Another id: what became of the first in the store may be unknown, and is undone.
            offline = structs.replace(ask, id=f"{ask.id}~")
            if not self._allowance.take(offline):
                raise
            return Hold(offline, dispatched, offline=True)
        return hold

    async def dispatch(self, hold: Hold) -> bool:
        """Pass the fence: send only when this returns True. Raises StoreDown."""
        if hold.offline:
            return self._allowance.holds(hold.ask)
        passed: bool = await self._do(Dispatch(hold.ask.id, hold.ask.due, self._now()))
        return passed

    def settle(self, hold: Hold, cost: int, units: str = "") -> None:
        """Replace the hold by what the attempt cost. Queued; repeated until it is written."""
        if cost < 0:
            raise ValueError("A cost cannot be below 0.")
        if hold.offline:
            self._allowance.settle(hold.ask, cost, units)
            self._write_allowance()
            return
        self._queue(Settle(hold.ask.id, cost, units, self._now()))

    def capture(self, hold: Hold) -> None:
        """Sent, and nobody knows what it cost: take the bound until the bill is reconciled."""
        if hold.offline:
            self._allowance.settle(hold.ask, None, "")
            self._write_allowance()
            return
        self._queue(Capture(hold.ask.id, self._now()))

    def release(self, hold: Hold, *, unsent: bool = False) -> None:
        """Let the hold go: nothing was sent. After the fence only *unsent*, when that is known."""
        if hold.offline:
            if unsent or not hold.dispatched:
                self._allowance.release(hold.ask)
            return
        self._queue(Release(hold.ask.id, self._now(), unsent))

    async def sweep(self, now: float | None = None) -> int:
        """Let go what expired, capture what no call can still be using. How many were swept."""
        swept: int = await self._do(Sweep(self._now() if now is None else now))
        return swept

    async def reconcile(self, bills: Sequence[Bill]) -> list[bool]:
        """Settle captured attempts by the vendor's record. Whether each was still captured."""
        now, done = self._now(), []
        # A few at a time: each has the whole timeout to wait for.
        for at in range(0, len(bills), BATCH):
            some = [self._do(Reconcile(bill, now)) for bill in bills[at : at + BATCH]]
            done += await asyncio.gather(*some)
        return done

    async def written(self) -> None:
        """Wait until everything that was queued before is written. Raises StoreDown."""
        await self._do(Release("", self._now()))

    async def close(self, grace: float = 5.0) -> None:
        """Write what is queued, for *grace* seconds at most; then the sweep has to do the rest."""
        if self._closed:
            return
        self._closed = True
        self._hand()
        self._writer.stop(grace)
        aborting = self._loop.call_later(grace, self._store.driver.abort)
        await asyncio.to_thread(self._writer.join, grace + 1.0)
        aborting.cancel()
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.sleep(0)
        for job in list(self._waiting):
            _answer(job, StoreDown("The ledger is closed."))
        self._waiting.clear()

    async def _do(self, move: Any) -> Any:
        writer = self._writer
        if self._closed or not writer.up:
            raise StoreDown("The ledger cannot be reached now; nothing was sent.")
        job = Job(move, self._loop.create_future(), time.monotonic())
        self._waiting[job] = None
        if self._watch is None:
            self._watch = self._loop.call_later(TICK, self._look)
        if self._turn is not None and isinstance(move, (Reserve, Dispatch)):
            self._turn.take(job)
        else:
            self._hand(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            # Cancelled between the answer and its reading: nobody will ever use what was held.
            if job.future.done() and not job.future.cancelled() and not job.future.exception():
                self._undo_done(job)
            raise

    def _queue(self, move: Any) -> None:
        """Never handed over in this turn of the loop: a call's record is written before it."""
        self._outbox.append(Job(move))
        if self._handing is None:
            wait, give = COLLECT, self._hand
            if self._turn is not None:
                wait, give = COLLECT + LINGER, partial(self._hand, to=self._turn.settle)
            self._handing = self._loop.call_later(wait, give)

    def _hand(self, *more: Job, to: Callable[[list[Job]], None] | None = None) -> None:
        """Give what was collected, in its order, and then *more*; to the writer, else *to*."""
        if self._handing is not None:
            self._handing.cancel()
            self._handing = None
        jobs, self._outbox = self._outbox, []
        jobs += more
        (to or self._writer.queue.put)(jobs)

    def _look(self) -> None:
        """Fail who has waited too long, and make a call that hangs end."""
        self._watch = None
        late = time.monotonic() - self._timeout
        for job in list(self._waiting):
            if job.since > late:
                break
            del self._waiting[job]
            _answer(job, StoreDown(f"The ledger did not answer within {self._timeout:g} s."))
        if self._writer.busy < late:
            self._store.driver.abort()
        if self._waiting:
            self._watch = self._loop.call_later(TICK, self._look)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *args)

    def _finish(self, jobs: list[Job], events: list[Event]) -> None:
        """In the loop: answer those who wait; undo what nobody waits for any more."""
        waiting = self._waiting
        for job in jobs:
            if job.future is None:
                continue
            waiting.pop(job, None)
            if not job.future.done():
                _answer(job, job.result)
            else:
                self._undo_done(job)
        for event in events:
            if event.kind == "bound":
                self._frozen |= {event.price}
            self._on_event(event)
        self._write_allowance()

    def _lost(self, jobs: list[Job]) -> None:
        """In the loop: the store went away; it may have been committed, and nothing is sent."""
        for job in jobs:
            self._waiting.pop(job, None)
            self._undo(job.move)
            _answer(job, StoreDown("The ledger cannot be reached now; nothing was sent."))

    def _undo_done(self, job: Job) -> None:
        if job.result is True or isinstance(job.result, Hold):
            self._undo(job.move)

    def _undo(self, move: Any) -> None:
        """Who asked has gone, or was told that the store is away: it sent nothing."""
        if isinstance(move, (Reserve, Dispatch)):
            id_ = move.ask.id if isinstance(move, Reserve) else move.id
            self._queue(Release(id_, self._now(), unsent=True))

    def _change(self, frozen: frozenset[str]) -> None:
        self._frozen = frozen
        self._on_change()
        self._write_allowance()

    def _write_allowance(self) -> None:
        """What was spent while the store was away goes into it now that it is back."""
        if not self._writer.up:
            return
        for spent in self._allowance.settled():
            places = self.budgets.places(spent.ask.scopes, spent.at)
            write = Reserve(spent.ask, places, spent.at, dispatched=True, forced=True)
            written = self._loop.create_future()
            written.add_done_callback(partial(self._wrote, spent))
            self._hand(Job(write, written))
            if spent.cost is None:
                self._queue(Capture(spent.ask.id, self._now()))
            else:
                self._queue(Settle(spent.ask.id, spent.cost, spent.units, self._now()))

    def _wrote(self, spent: Spent, written: asyncio.Future[bool]) -> None:
        if not written.cancelled() and not written.exception() and written.result():
            self._allowance.fitted(spent)


def _answer(job: Job, result: Any) -> None:
    if job.future.done():
        return
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
