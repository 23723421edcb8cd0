"""How money moves: the guards of every move, on rows in memory, without a store or a clock.

    R  reserved: held, nothing may be sent yet        S  settled: the cost is posted
    D  dispatched: bytes may have been sent           X  let go: nothing was sent
    C  captured: the bound is posted, the cost unknown

    reserve     -> R, or -> D   held += bound          only where posted + held + bound <= limit,
                                                       in all budgets of the attempt or in none
    dispatch    R -> D                                 only before it expires: the fence
    settle      D -> S          held -= bound, posted += cost
                C -> S          posted += cost - bound
    capture     D -> C          held -= bound, posted += bound
    release     R -> X          held -= bound
                D, C -> X       the same, or posted -= bound: only who knows that nothing was sent
    lapse       R -> X          once it has expired
                D -> C          once no call can still be going
    reconcile   C -> S, C -> X  by the vendor's own record

Every other move changes nothing, so each can be repeated after an answer was lost. The store runs
these very functions on rows that it has locked; the model check in tests/unit/ledger_model runs
them over all interleavings, and with each guard removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from router.core.money import usd

from .budget import Place
from .record import (
    Capture,
    Dispatch,
    Event,
    Hold,
    Lapse,
    Move,
    OverBudget,
    Reconcile,
    Release,
    Reserve,
    Settle,
)

State = Literal["R", "D", "C", "S", "X"]
Result = Hold | bool | Exception


class Row(msgspec.Struct):
    """One reservation."""

    id: str
    state: State
    bound: int
    due: float
    """When the sweep may act on it."""
    budgets: tuple[str, ...]
    price: str = ""
    cost: int | None = None
    units: str = ""
    sent: float | None = None
    ended: float | None = None


class Account(msgspec.Struct):
    """One budget in one window, or one bucket of a rolling one."""

    key: str
    held: int = 0
    posted: int = 0
    told: int = 0
    """The highest share, in thousandths, that was told in this window."""
    cap: int = 0
    """The limit when it was last seen; what counts is the limit of who asks."""
    place: Place | None = None
    """None: nobody of this process has spent from it lately."""
    held_before: int = 0
    posted_before: int = 0
    """Rolling: in the other buckets that count."""
    frees_at: float = 0.0
    """Rolling: when the oldest of them leaves the window; 0: there is none."""
    refused: bool = False

    @property
    def used(self) -> int:
        return self.posted + self.held + self.posted_before + self.held_before


class Books(msgspec.Struct):
    """The rows that a batch of moves may touch, and what it did to them."""

    rows: dict[str, Row]
    accounts: dict[str, Account]
    was: dict[str, tuple[int, int, int]] = msgspec.field(default_factory=dict)
    """Of each account: held, posted and told before."""
    new: list[Reserve] = msgspec.field(default_factory=list)
    changed: set[str] = msgspec.field(default_factory=set)
    frozen: list[Row] = msgspec.field(default_factory=list)
    events: list[Event] = msgspec.field(default_factory=list)


class Protocol:
    """The moves. Small methods each hold one guard, so that the check can take it away."""

    def __init__(self) -> None:
        self._moves: dict[type, Callable[[Books, Row, Any], bool]] = {
            Dispatch: self.dispatch,
            Settle: self.settle,
            Capture: self.capture,
            Release: self.release,
            Lapse: self.lapse,
            Reconcile: self.reconcile,
        }

    def fits(self, account: Account, bound: int, limit: int) -> bool:
        return account.used + bound <= limit

    def open(self, row: Row) -> bool:
        """May this reservation pass the fence."""
        return row.state == "R"

    def in_time(self, row: Row, now: float) -> bool:
        return now < row.due

    def counts(self, row: Row) -> bool:
        """May a cost be posted for it: once only, and only for what may have been sent."""
        return row.state in {"D", "C"}

    def recalled(self, row: Row, *, unsent: bool) -> bool:
        return row.state == "R" or (unsent and row.state in {"D", "C"})

    def lapsed(self, row: Row, now: float) -> bool:
        return row.due <= now

    def run(self, books: Books, move: Move) -> Result:
        """Do one move, or nothing. Returns what it did; an Exception is for the caller alone."""
        if isinstance(move, Reserve):
            return self.reserve(books, move)
        row = books.rows.get(move.bill.id if isinstance(move, Reconcile) else move.id)
        return row is not None and self._moves[type(move)](books, row, move)

    def reserve(self, books: Books, move: Reserve) -> Result:
        """A Hold, or why not. *forced*: whether it fitted."""
        ask, keys = move.ask, tuple(p.key for p in move.places)
        if ask.id in books.rows:
            return True  # forced, and written before an answer was lost
        over = None
        for place in move.places:
            account = books.accounts[place.key]
            if not self.fits(account, ask.bound, place.budget.limit):
                account.refused = True
                if place.budget.at_limit != "warn" and over is None:
                    over = OverBudget(place, account.used, ask.bound, _frees_at(account, place))
        if over and not move.forced:
            return over
        if over:
            books.events.append(_overrun(over, ask.id))
        for key in keys:
            books.accounts[key].held += ask.bound
        row = Row(
            ask.id, "R", ask.bound, ask.expires, keys, ask.price or ask.backend, units=ask.units
        )
        if move.dispatched:
            row.state, row.due, row.sent = "D", ask.due, move.now
        books.rows[ask.id] = row
        books.new.append(move)
        return over is None if move.forced else Hold(ask, move.dispatched)

    def dispatch(self, books: Books, row: Row, move: Dispatch) -> bool:
        if not self.open(row) or not self.in_time(row, move.now):
            return False
        row.state, row.due, row.sent = "D", move.due, move.now
        books.changed.add(row.id)
        return True

    def settle(self, books: Books, row: Row, move: Settle) -> bool:
        if not self.counts(row):
            if row.state != "S" and move.cost:
                books.events.append(_stray(row, move))
            return False
        captured = row.state == "C"
        for account in _accounts(books, row):
            if captured:
                account.posted += move.cost - row.bound
            else:
                account.held -= row.bound
                account.posted += move.cost
        row.units = move.units or row.units
        _end(books, row, "S", move.cost, move.now)
        if move.cost > row.bound:
            books.frozen.append(row)
            books.events.append(_too_low(row, move.cost))
        return True

    def capture(self, books: Books, row: Row, move: Capture | Lapse) -> bool:
        if row.state != "D":
            return False
        for account in _accounts(books, row):
            account.held -= row.bound
            account.posted += row.bound
        _end(books, row, "C", row.bound, move.now)
        return True

    def release(self, books: Books, row: Row, move: Release) -> bool:
        return self.recalled(row, unsent=move.unsent) and self._refund(books, row, move.now)

    def lapse(self, books: Books, row: Row, move: Lapse) -> bool:
        if not self.lapsed(row, move.now):
            return False
        if row.state == "R":
            return self._refund(books, row, move.now)
        return self.capture(books, row, move)

    def reconcile(self, books: Books, row: Row, move: Reconcile) -> bool:
        bill = move.bill
        if row.state != "C":
            return False
        if bill.cost is None:
            return self._refund(books, row, move.now)
        return self.settle(books, row, Settle(row.id, bill.cost, bill.units, move.now))

    def _refund(self, books: Books, row: Row, now: float) -> bool:
        captured = row.state == "C"
        for account in _accounts(books, row):
            if captured:
                account.posted -= row.bound
            else:
                account.held -= row.bound
        _end(books, row, "X", 0, now)
        return True


def _accounts(books: Books, row: Row) -> Iterable[Account]:
    accounts = books.accounts
    # A window that ended long ago may have been pruned; nothing can be spent from it any more.
    return [accounts[key] for key in row.budgets if key in accounts]


def _end(books: Books, row: Row, state: State, cost: int, now: float) -> None:
    row.state, row.cost, row.ended = state, cost, now
    books.changed.add(row.id)


def _frees_at(account: Account, place: Place) -> float | None:
    if place.anchor:
        return account.frees_at or place.ends
    return place.ends or None


def _overrun(over: OverBudget, reservation: str) -> Event:
    return Event(
        "overrun",
        f"Spent from the allowance while the store was away, above the limit: {over}",
        scope=over.scope,
        window=over.window,
        amount=over.used + over.bound - over.limit,
        reservation=reservation,
    )


def _stray(row: Row, move: Settle) -> Event:
    return Event(
        "stray",
        f"A cost of {usd(move.cost)} USD came for reservation {row.id}, which is in state "
        f"{row.state}: it is in no budget. Compare it with the vendor's bill.",
        amount=move.cost,
        reservation=row.id,
    )


def _too_low(row: Row, cost: int) -> Event:
    return Event(
        "bound",
        f"Reservation {row.id} cost {usd(cost)} USD, above its bound of {usd(row.bound)} USD. "
        f"Price entry {row.price!r} is frozen: correct it, then thaw it.",
        amount=cost,
        price=row.price,
        reservation=row.id,
    )
