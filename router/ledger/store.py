"""A batch of moves as one transaction: lock the rows, run the protocol on them, write what changed.

All transactions lock in one order, reservations by id and then budgets by key, so that they never
wait for each other in a circle. Everything that is decided is decided on locked rows: on SQLite
the file's one writer, on PostgreSQL rows locked FOR UPDATE. What the other buckets of a rolling
window hold is read after its anchor is locked, in a new statement, so nobody's reserve is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from .alerts import alerts
from .budget import Place
from .protocol import Account, Books, Result, Row
from .protocol import Protocol as Moves
from .record import Event, Lapse, Move, OverBudget, Reconcile, Reserve
from .statements import Statement, Statements

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(tuple[str, ...]).decode
Rows = Sequence[Sequence[Any]]
MOST_PLACES = 50_000
"""Windows remembered; more are forgotten and found again."""
SWEPT = 500
"""Reservations per transaction of a sweep, as in the statement."""


class Refused(Exception):
    """A batch was given up, for a budget had no room."""


class Busy(Exception):
    """A batch was not begun, for others write to the store now."""


class Driver(Protocol):
    """One connection to a database."""

    statements: Statements
    prompt: bool
    """A transaction takes less than a millisecond, whatever becomes of the disk or a network."""

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def away(self, exc: Exception) -> bool:
        """Whether *exc* means that the store cannot be asked; else a move was bad."""
        ...

    def abort(self) -> None:
        """Make a call that hangs fail, from another thread."""

    def begin(self, *, durable: bool = True, wait: bool = True) -> None:
        """*wait* False: raise Busy instead of waiting for others. Only where it is `prompt`."""
        ...

    def tidy(self) -> None:
        """What has to be done to the store from time to time, and may take long."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def fetch(self, sql: Statement, rows: Rows) -> list[tuple[Any, ...]]: ...
    def write(self, sql: Statement, rows: Rows) -> None: ...
    def alone(self, sql: Statement, rows: Rows) -> tuple[list[tuple[Any, ...]], int]:
        """A statement that is a transaction of its own: what it found, how many it changed."""


def _silent(point: str) -> None:
    """Nothing watches the points of a transaction."""


class Store:
    """Runs batches on one connection; used by one thread only, but for `abort`."""

    def __init__(
        self, driver: Driver, moves: Moves | None = None, probe: Callable[[str], None] = _silent
    ) -> None:
        self.driver = driver
        self._moves = moves or Moves()
        self._probe = probe
        self._sql = driver.statements
        self._places: dict[str, Place] = {}

    def known(self, batch: Iterable[Move]) -> bool:
        """Whether all windows that the batch reserves in have their rows."""
        places = self._places
        return all(
            places.get(place.key) is place
            for move in batch
            if isinstance(move, Reserve)
            for place in move.places
        )

    def run(
        self,
        batch: Sequence[Move],
        *,
        unless_refused: bool = False,
        durable: bool = True,
        wait: bool = True,
    ) -> tuple[list[Result], list[Event]]:
        """The result of each move, and what is to be told, once it is all committed.

        Raises what the driver raises: then nothing was done, unless the error came from the commit
        itself, when that is unknown. *unless_refused*: raises Refused when a budget has no room
        for one of them; nothing was done then either. Not *durable*: it may be lost when the
        server crashes, though never in part and never before what was committed later. Not *wait*:
        raises Busy while others write; the batch must be `known`.
        """
        if wait:
            self._open(batch)
        driver = self.driver
        driver.begin(durable=durable, wait=wait)
        try:
            books = self._load(batch)
            results = [self._moves.run(books, move) for move in batch]
            if unless_refused:
                _all_fit(results)
            alerts(books)
            self._write(books)
            self._probe("before commit")
            driver.commit()
        except BaseException:
            driver.rollback()
            raise
        self._probe("after commit")
        return results, books.events

    def sweep(self, now: float) -> tuple[int, list[Event]]:
        """Let go what expired, capture what no call can still be using. Returns how many."""
        swept, events = 0, []
        while True:
            due = self._read(self._sql.due, [[now]])
            self._probe("before sweep")
            results, told = self.run([Lapse(id_, now) for (id_,) in due]) if due else ([], [])
            swept += sum(1 for result in results if result is True)
            events += told
            if len(due) < SWEPT:
                return swept, events

    def version(self) -> int:
        """Changes when a key or a frozen price did."""
        return int(self._read(self._sql.version)[0][0])

    def frozen(self) -> frozenset[str]:
        return frozenset(price for (price,) in self._read(self._sql.frozen))

    def prune(self, before: float) -> int:
        """Forget what ended before *before*; what is held or captured stays. How many."""
        pruned, some = 0, SWEPT
        while some >= SWEPT:
            some = self.driver.alone(self._sql.prune, [[before]])[1]
            pruned += some
        self.driver.alone(self._sql.prune_budgets, [[before]])
        self._places.clear()
        return pruned

    def _read(self, sql: Statement, rows: Rows = ()) -> list[tuple[Any, ...]]:
        return self.driver.alone(sql, rows)[0]

    def _open(self, batch: Iterable[Move]) -> None:
        """Make the rows of windows that are new here, in one order, in a transaction of its own."""
        places = self._places
        fresh: dict[str, tuple[Place, bool]] = {}
        for move in batch:
            if isinstance(move, Reserve):
                for place in move.places:
                    if places.get(place.key) is not place:
                        fresh[place.key] = (place, False)
                        if place.anchor:
                            fresh[place.anchor] = (place, True)
        if not fresh:
            return
        rows = [_opened(place, anchor=anchor) for _, (place, anchor) in sorted(fresh.items())]
        self.driver.alone(self._sql.open, rows)
        if len(places) > MOST_PLACES:
            places.clear()
        places.update({key: place for key, (place, anchor) in fresh.items() if not anchor})

    def _load(self, batch: Sequence[Move]) -> Books:
        """Lock and read all that the batch may touch."""
        ids, keys, rolling = _touched(batch)
        fetch, sql = self.driver.fetch, self._sql
        rows: dict[str, Row] = {}
        if ids:
            for found in fetch(sql.lock_rows, [[id_] for id_ in sorted(ids)]):
                id_, state, bound, due, budgets, price, cost, units, sent = found
                row = Row(id_, state, bound, due, decode(budgets), price, cost, units, sent)
                rows[id_] = row
                keys.update(row.budgets)
        accounts: dict[str, Account] = {}
        if keys:
            places = self._places
            locked = fetch(sql.lock_accounts, [[key] for key in sorted(keys)])
            for key, held, posted, told, cap in locked:
                accounts[key] = Account(key, held, posted, told, cap, places.get(key))
        if rolling:
            asked = [[p.anchor, p.since, key] for key, p in sorted(rolling.items())]
            for own, held, posted, first in fetch(sql.others, asked):
                account, place = accounts[own], rolling[own]
                account.held_before, account.posted_before = held, posted
                account.frees_at = float(first + place.ends - place.start) if first else 0.0
        was = {key: (a.held, a.posted, a.told) for key, a in accounts.items()}
        return Books(rows, accounts, was)

    def _write(self, books: Books) -> None:
        write, sql, rows = self.driver.write, self._sql, books.rows
        if books.new:
            write(sql.reserve, [_new(move, rows[move.ask.id]) for move in books.new])
        moved = books.changed.difference(move.ask.id for move in books.new)
        if moved:
            changed = [rows[id_] for id_ in sorted(moved)]
            values = [[r.id, r.state, r.cost, r.units, r.due, r.sent, r.ended] for r in changed]
            write(sql.move, values)
        posts = []
        for account in books.accounts.values():
            held, posted, _ = books.was[account.key]
            cap = account.place.budget.limit if account.place else account.cap
            now = (account.held, account.posted, account.told)
            if now != books.was[account.key] or cap != account.cap:
                change = [account.key, account.held - held, account.posted - posted]
                posts.append([*change, account.told, cap])
        if posts:
            write(sql.post, posts)
        if books.frozen:
            write(sql.freeze, [[r.price, r.id, r.ended] for r in books.frozen])
            write(sql.changed, [])


def _all_fit(results: list[Result]) -> None:
    if any(isinstance(result, OverBudget) for result in results):
        raise Refused


def _touched(batch: Sequence[Move]) -> tuple[set[str], set[str], dict[str, Place]]:
    """Reservations and budgets that the batch may touch, and the rolling ones that it reserves."""
    ids: set[str] = set()
    keys: set[str] = set()
    rolling: dict[str, Place] = {}
    for move in batch:
        if not isinstance(move, Reserve):
            ids.add(move.bill.id if isinstance(move, Reconcile) else move.id)
            continue
        if move.forced:
            ids.add(move.ask.id)
        for place in move.places:
            keys.add(place.key)
            if place.anchor:
                keys.add(place.anchor)
                rolling[place.key] = place
    return ids, keys, rolling


def _opened(place: Place, *, anchor: bool) -> list[Any]:
    budget, scope = place.budget, place.scope
    start, ends = (0, 0) if anchor else (place.start, place.ends)
    key, above = (place.anchor, "") if anchor else (place.key, place.anchor)
    return [key, scope.kind, scope.name, budget.window, start, ends, budget.limit, above]


def _new(move: Reserve, row: Row) -> list[Any]:
    """In the order of the table's columns."""
    ask = move.ask
    return [
        *(ask.id, ask.call, ask.attempt, ask.backend, ask.vendor, ask.model, row.price),
        encode([str(scope) for scope in ask.scopes]).decode() if ask.scopes else "[]",
        encode(row.budgets).decode(),
        *(row.state, row.bound, row.cost, row.units, move.now, row.due, row.sent, row.ended),
    ]
