"""The hot path's SQL: written once in SQLAlchemy Core, compiled at start, run by the driver itself.

Every statement takes a table of rows, so that a hundred moves are as many statements as one.
Its text is run on the driver's own cursor: SQLAlchemy's execution costs some 50 us a statement, the
driver's 5. How the rows get in is the dialect's affair:

    SQLite       `(VALUES (?, ?), (?, ?), ...)` in place of a table called `rows_`
    PostgreSQL   one parameter of JSON, read by `json_to_recordset`
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    Executable,
    Integer,
    Text,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from .schema import budget, frozen, meta, reservation

NEW = tuple(c.name for c in reservation.columns)
"""Columns of a new reservation, in the order of its row."""
OPENED = ("key", "kind", "name", "span", "start", "ends", "cap", "anchor")
ROWS = "rows_"


class Statement(msgspec.Struct, frozen=True):
    """SQL that reads rows of *width* columns, called a0, a1, ...; 0: it reads none."""

    text: str
    width: int


class Statements:
    """All of them, for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._lite = dialect.name == "sqlite"
        b, r = budget.c, reservation.c
        ids, now = self._rows(Text()), self._rows(Double())
        moment = select(now.c[0]).scalar_subquery()
        zero = literal_column("0", BigInteger)
        self.lock_rows = self._made(
            select(r.id, r.state, r.bound, r.due, r.budgets, r.price, r.cost, r.units, r.sent)
            .where(r.id.in_(select(ids.c[0])))
            .order_by(r.id)
            .with_for_update(),
            1,
        )
        self.lock_accounts = self._made(
            select(b.key, b.held, b.posted, b.told, b.cap)
            .where(b.key.in_(select(ids.c[0])))
            .order_by(b.key)
            .with_for_update(),
            1,
        )
        self.others = self._made(self._others(), 3)
        self.open = self._made(self._insert(budget, OPENED).on_conflict_do_nothing(), len(OPENED))
        self.reserve = self._made(self._insert(reservation, NEW), len(NEW))
        self.move = self._made(self._move(), 7)
        self.post = self._made(self._post(), 5)
        self.freeze = self._made(
            self._insert(frozen, ("price", "reservation", "at")).on_conflict_do_nothing(), 3
        )
        self.due = self._made(
            select(r.id)
            .where(r.state.in_(_states("R", "D")), r.due <= moment)
            .order_by(r.due)
            .suffix_with(literal_column("LIMIT 500")),
            1,
        )
        version = meta.c.name == literal_column("'version'")
        one = literal_column("1", BigInteger)
        self.changed = self._made(update(meta).values(value=meta.c.value + one).where(version), 0)
        self.version = self._made(select(meta.c.value).where(version), 0)
        self.frozen = self._made(select(frozen.c.price), 0)
        old = (
            select(r.id)
            .where(r.state.in_(_states("S", "X")), r.made < moment)
            .order_by(r.made)
            .suffix_with(literal_column("LIMIT 500"))
        )
        self.prune = self._made(delete(reservation).where(r.id.in_(old)), 1)
        self.prune_budgets = self._made(
            delete(budget).where(b.ends > zero, b.ends < moment, b.held == zero), 1
        )

    def _made(self, statement: Executable, width: int) -> Statement:
        compiled = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        # A constant that became a parameter would not be given its value.
        assert set(compiled.params) <= {ROWS}, compiled.params
        return Statement(str(compiled), width)

    def _rows(self, *kinds: TypeEngine[Any]) -> Any:
        """The table of rows, as what they are."""
        if self._lite:
            names = [f"column{at + 1}" for at in range(len(kinds))]
            return table(ROWS, *[column(n, k) for n, k in zip(names, kinds, strict=True)]).alias(
                "given"
            )
        columns = [column(f"a{at}", kind) for at, kind in enumerate(kinds)]
        given = cast(bindparam(ROWS, type_=Text), postgresql.JSON)
        return (
            func.json_to_recordset(given)
            .table_valued(*columns, name="given")
            .render_derived(with_types=True)
        )

    def _insert(self, into: Any, names: tuple[str, ...]) -> Any:
        rows = self._rows(*[_plain(into.c[name]) for name in names])
        # "WHERE 1 = 1" tells SQLite's parser that ON CONFLICT is not the ON of a join.
        source = select(*rows.c).where(literal_column("1 = 1"))
        make = sqlite.insert if self._lite else postgresql.insert
        return make(into).from_select(list(names), source)

    def _others(self) -> Executable:
        """Of rolling windows: what the other buckets hold. Rows are anchor, since, own key."""
        anchor, since, own = self._rows(Text(), BigInteger(), Text()).c
        b = budget.c
        spent = b.held + b.posted > literal_column("0", BigInteger)
        return (
            select(
                own,
                cast(func.sum(b.held), BigInteger),
                cast(func.sum(b.posted), BigInteger),
                func.min(b.start).filter(spent),
            )
            .where(b.anchor == anchor, b.start > since, b.key != own)
            .group_by(own)
        )

    def _move(self) -> Executable:
        """Rows are id, state, cost, units, due, sent, ended."""
        names = ("state", "cost", "units", "due", "sent", "ended")
        when: Any = Double()
        key, *values = self._rows(Text(), Text(), BigInteger(), Text(), when, when, when).c
        changed = dict(zip(names, values, strict=True))
        return update(reservation).values(changed).where(reservation.c.id == key)

    def _post(self) -> Executable:
        """Rows are key, change of held, change of posted, told, cap."""
        big = BigInteger()
        key, held, posted, told, cap = self._rows(Text(), big, big, Integer(), big).c
        b = budget.c
        changed = {"held": b.held + held, "posted": b.posted + posted, "told": told, "cap": cap}
        return update(budget).values(changed).where(b.key == key)


def _states(*states: str) -> list[Any]:
    return [literal_column(f"'{state}'") for state in states]


def _plain(of: Column[Any]) -> TypeEngine[Any]:
    return Text() if of.type.python_type is str else of.type
