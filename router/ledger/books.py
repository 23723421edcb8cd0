"""What an operator looks at: budgets, attempts, frozen prices, and whether the sums are right.

Nothing here is on the way of a call. All amounts are pico-dollars, all times unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, delete, func, select, text, update

from .budget import span
from .schema import budget, frozen, meta, reservation


class BudgetRow(msgspec.Struct, frozen=True):
    """A window of a budget, or a bucket of a rolling one. `ends` 0: never."""

    key: str
    kind: str
    name: str
    window: str
    start: int
    ends: int
    limit: int
    held: int
    posted: int


class AttemptRow(msgspec.Struct, frozen=True):
    """A reservation. `state`: R reserved, D dispatched, C captured, S settled, X let go."""

    id: str
    call: str
    attempt: int
    backend: str
    vendor: str
    model: str
    price: str
    scopes: tuple[str, ...]
    budgets: tuple[str, ...]
    state: str
    bound: int
    cost: int | None
    units: str
    made: float
    due: float
    sent: float | None
    ended: float | None


class Watched(msgspec.Struct, frozen=True):
    """What is watched of the books all the time: the windows that last now, and open attempts."""

    budgets: tuple[BudgetRow, ...]
    attempts: dict[str, tuple[int, int]]
    """reserved, dispatched, captured -> how many, and the sum of their bounds."""


class FrozenRow(msgspec.Struct, frozen=True):
    """A price entry that is refused, and the attempt that cost more than its bound."""

    price: str
    reservation: str
    at: float


class Difference(msgspec.Struct, frozen=True):
    """A budget whose sums are not those of its attempts."""

    key: str
    held: int
    held_by_attempts: int
    posted: int
    posted_by_attempts: int


def budgets(engine: Engine, now: float) -> list[BudgetRow]:
    """The windows that last now."""
    b = budget.c
    columns = (b.key, b.kind, b.name, b.span, b.start, b.ends, b.cap, b.held, b.posted)
    # An anchor has neither start nor end, and holds no money.
    lasting = ((b.ends > now) | (b.ends == 0)) & ~b.key.endswith("/anchor", autoescape=True)
    with engine.connect() as connection:
        found = connection.execute(select(*columns).where(lasting).order_by(b.key))
        return [BudgetRow(*row) for row in found]


def standing(engine: Engine, now: float) -> list[BudgetRow]:
    """The same with one row for each budget: the buckets of a rolling window are added up.

    Such a row ends when the oldest amount in it leaves the window.
    """
    merged: dict[str, BudgetRow] = {}
    for row in budgets(engine, now):
        # A bucket is called like its window, and then by its start.
        name = row.key.rpartition("/")[0] if span(row.window) else row.key
        before = merged.get(name)
        merged[name] = row if before is None else _added(before, row)
    return list(merged.values())


def _added(older: BudgetRow, newer: BudgetRow) -> BudgetRow:
    return msgspec.structs.replace(
        newer,
        start=older.start,
        ends=(older if older.held + older.posted else newer).ends,
        held=older.held + newer.held,
        posted=older.posted + newer.posted,
    )


def attempts(
    engine: Engine,
    states: Iterable[str] = ("R", "D"),
    *,
    since: float = 0.0,
    until: float = float("inf"),
    vendor: str = "",
    most: int = 1000,
) -> list[AttemptRow]:
    """Attempts in these states, made in this time, the newest first."""
    r = reservation.c
    asked = select(reservation).where(r.state.in_(list(states)), r.made >= since)
    if until != float("inf"):
        asked = asked.where(r.made < until)
    if vendor:
        asked = asked.where(r.vendor == vendor)
    with engine.connect() as connection:
        found = connection.execute(asked.order_by(r.made.desc(), r.id).limit(most)).mappings()
        return [_attempt(row) for row in found]


def frozen_prices(engine: Engine) -> list[FrozenRow]:
    with engine.connect() as connection:
        return [FrozenRow(*row) for row in connection.execute(select(frozen))]


def watched(engine: Engine, now: float) -> Watched:
    """The windows that last now, and what is held or captured by attempts."""
    found = dict.fromkeys(("reserved", "dispatched", "captured"), (0, 0))
    names = {"R": "reserved", "D": "dispatched", "C": "captured"}
    r = reservation.c
    with engine.connect() as connection:
        # Written out, as in the partial indexes: with bound values neither store would use them,
        # and would read every attempt of the last months.
        for live in (text("state IN ('R', 'D')"), text("state = 'C'")):
            asked = select(r.state, func.count(), func.sum(r.bound)).where(live).group_by(r.state)
            for state, count, bound in connection.execute(asked):
                found[names[state]] = (count, int(bound))
    return Watched(tuple(budgets(engine, now)), found)


def thaw(engine: Engine, price: str) -> bool:
    """Use a price entry again, after it was corrected. Whether it was frozen."""
    with engine.begin() as connection:
        connection.execute(
            update(meta).where(meta.c.name == "version").values(value=meta.c.value + 1)
        )
        return connection.execute(delete(frozen).where(frozen.c.price == price)).rowcount > 0


def audit(engine: Engine, *, kept_since: float = 0.0) -> list[Difference]:
    """Budgets whose sums are not those of their attempts; none, while the store is sound.

    Settled attempts from before *kept_since* may have been pruned: windows that began earlier are
    compared by what is held only.
    """
    b = budget.c
    wrong = []
    with engine.begin() as connection:
        held, posted = _sums(connection)
        for key, is_held, is_posted, start in connection.execute(
            select(b.key, b.held, b.posted, b.start)
        ):
            by_held, by_posted = held.get(key, 0), posted.get(key, 0)
            if is_held != by_held or (start >= kept_since and is_posted != by_posted):
                wrong.append(Difference(key, is_held, by_held, is_posted, by_posted))
    return wrong


def _sums(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    r = reservation.c
    held: dict[str, int] = {}
    posted: dict[str, int] = {}
    amount = func.sum(func.coalesce(r.cost, r.bound))
    rows = connection.execute(
        select(r.budgets, r.state, amount).where(r.state != "X").group_by(r.budgets, r.state)
    )
    for keys, state, total in rows:
        sums = held if state in {"R", "D"} else posted
        for key in msgspec.json.decode(keys):
            sums[key] = sums.get(key, 0) + int(total)
    return held, posted


def _attempt(row: Any) -> AttemptRow:
    # The driver's names are a kind of text of their own, which msgspec does not take.
    fields = {str(name): value for name, value in row.items()}
    for name in ("scopes", "budgets"):
        fields[name] = msgspec.json.decode(fields[name])
    return msgspec.convert(fields, AttemptRow)
