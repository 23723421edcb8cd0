"""What replicas have taken of a key's minute: a row per key, kind and second of the store's clock.

    take    where the sum of the last SPAN seconds + what is asked <= limit, in every kind or none

A replica uses what it took within TTL seconds. So what all of them let through in any 60 seconds
was taken in a span that SPAN seconds cover, and is at most the limit. Amounts are thousandths.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    String,
    Table,
    Text,
    delete,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from .schema import metadata

TTL = 1.0
SPAN = 62
"""60 seconds, one for TTL, one because seconds are whole."""

rate = Table(
    "rate",
    metadata,
    Column("key", Text, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("second", BigInteger, primary_key=True),
    Column("taken", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


class Want(msgspec.Struct, frozen=True):
    """Of one kind: at least *need*, *some* if there is so much, under *limit*."""

    need: int
    some: int
    limit: int


class Granted(msgspec.Struct, frozen=True):
    """How much of each kind, and the second in which it counts."""

    amounts: dict[str, int]
    second: int


class Spent(msgspec.Struct, frozen=True):
    """No room in *kind* for *wait* seconds; *left* of it are."""

    kind: str
    left: int
    wait: float


Change = tuple[str, str, int, int]
"""(key, kind, second, more): corrects what was taken; below 0 gives back."""


def take(connection: Connection, key: str, wants: Mapping[str, Want]) -> Granted | Spent:
    """Take a share of every kind, or of none. One transaction."""
    with connection.begin():
        now = _locked(connection, key)
        second = int(now)
        connection.execute(delete(rate).where(rate.c.key == key, rate.c.second <= second - SPAN))
        found = connection.execute(
            select(rate.c.kind, rate.c.second, rate.c.taken)
            .where(rate.c.key == key)
            .order_by(rate.c.second)
        ).all()
        amounts: dict[str, int] = {}
        for kind, want in wants.items():
            rows = [(at, taken) for of, at, taken in found if of == kind]
            left = want.limit - sum(taken for _, taken in rows)
            if left < want.need:
                return Spent(kind, max(0, left), _wait(rows, want.need - left, now))
            amounts[kind] = min(want.some, left)
        _add(connection, [(key, kind, second, n) for kind, n in amounts.items()])
        return Granted(amounts, second)


def correct(connection: Connection, changes: Iterable[Change]) -> None:
    """Give back what was not used, and add what was used beyond it. One transaction."""
    by_key: dict[str, list[Change]] = {}
    for change in changes:
        by_key.setdefault(change[0], []).append(change)
    with connection.begin():
        # In one order everywhere, or two replicas could wait for each other's locks.
        for key in sorted(by_key):
            oldest = int(_locked(connection, key)) - SPAN
            _add(connection, [change for change in by_key[key] if change[2] > oldest])


def _locked(connection: Connection, key: str) -> float:
    """Wait for the key's turn; the store's time. SQLite's transactions hold the whole file."""
    if connection.dialect.name == "sqlite":
        return time.time()
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 42))"), {"key": key}
    )
    now = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    return float(now)


def _wait(rows: list[tuple[int, int]], over: int, now: float) -> float:
    for second, taken in rows:
        over -= taken
        if over <= 0:
            return max(0.0, second + SPAN - now)
    return float(SPAN)


def _add(connection: Connection, changes: list[Change]) -> None:
    made = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for key, kind, second, more in changes:
        if more > 0:
            new = made(rate).values(key=key, kind=kind, second=second, taken=more)
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=["key", "kind", "second"],
                    set_={"taken": rate.c.taken + new.excluded.taken},
                )
            )
        elif more < 0:
            row = (rate.c.key == key, rate.c.kind == kind, rate.c.second == second)
            connection.execute(update(rate).where(*row).values(taken=rate.c.taken + more))
