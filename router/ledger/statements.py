"""The hot path's SQL: written once in SQLAlchemy Core, compiled at start, run by the driver itself.

Each statement takes its rows as one parameter, a JSON list, so that a batch of a hundred moves is
as many statements as one move. Compiled text is run on the driver's own cursor: SQLAlchemy's
execution costs some 50 us a statement, the driver's 5.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Executable,
    Integer,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from .schema import budget, frozen, meta, reservation

NEW = ("id", "call", "attempt", "backend", "vendor", "model", "price", "scopes", "budgets", "state")
NEW += ("bound", "cost", "units", "made", "due", "sent", "ended")
"""Columns of a new reservation, in the order of its row."""
OPENED = ("key", "kind", "name", "span", "start", "ends", "cap", "anchor")


class Statements:
    """SQL text for one dialect; every text takes `:rows`, JSON."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._lite = dialect.name == "sqlite"
        b, r = budget.c, reservation.c
        ids = select(self._rows("ids").c.value) if self._lite else None
        self.lock_rows = self._text(
            select(r.id, r.state, r.bound, r.due, r.budgets, r.price, r.cost, r.units, r.sent)
            .where(self._among(r.id, ids))
            .order_by(r.id)
            .with_for_update()
        )
        self.lock_accounts = self._text(
            select(b.key, b.held, b.posted, b.told, b.cap)
            .where(self._among(b.key, ids))
            .order_by(b.key)
            .with_for_update()
        )
        self.others = self._text(self._others())
        self.open = self._text(self._insert(budget, OPENED).on_conflict_do_nothing())
        self.reserve = self._text(self._insert(reservation, NEW))
        self.move = self._text(self._move())
        self.post = self._text(self._post())
        self.freeze = self._text(
            self._insert(frozen, ("price", "reservation", "at")).on_conflict_do_nothing()
        )
        self.due = self._text(self._due())
        self.changed = self._text(
            update(meta)
            .values(value=meta.c.value + literal_column("1"))
            .where(meta.c.name == literal_column("'version'"))
        )
        self.version = self._text(
            select(meta.c.value).where(meta.c.name == literal_column("'version'"))
        )
        self.frozen = self._text(select(frozen.c.price))
        self.prune = self._text(self._prune())
        self.prune_budgets = self._text(self._prune_budgets())

    def _text(self, statement: Executable) -> str:
        compiled = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        assert set(compiled.params) <= {"rows"}, compiled.params
        return str(compiled)

    def _rows(self, name: str) -> Any:
        rows = bindparam("rows", type_=Text)
        if self._lite:
            return func.json_each(rows).table_valued("value", name=name)
        # Materialized once; each row is a JSON list.
        return func.json_array_elements(cast(rows, postgresql.JSON)).table_valued(
            "value", name=name
        )

    def _field(self, rows: Any, at: int, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        value = rows.c.value
        if self._lite:
            return func.json_extract(value, literal_column(f"'$[{at}]'"))
        return cast(value.op("->>")(literal_column(str(at))), kind)

    def _among(self, column: Any, ids: Any) -> ColumnElement[bool]:
        if self._lite:
            return column.in_(ids)  # type: ignore[no-any-return]
        found = func.json_array_elements_text(cast(bindparam("rows", type_=Text), postgresql.JSON))
        return column.in_(select(found.table_valued("value", name="ids").c.value))  # type: ignore[no-any-return]

    def _insert(self, table: Any, names: tuple[str, ...]) -> Any:
        rows = self._rows("fresh")
        kinds = [table.c[name].type for name in names]
        fields = [self._field(rows, at, _plain(kind)) for at, kind in enumerate(kinds)]
        # "WHERE true" tells SQLite's parser that ON CONFLICT is not a join's ON.
        source = select(*fields).where(literal_column("true" if not self._lite else "1 = 1"))
        make = sqlite.insert if self._lite else postgresql.insert
        return make(table).from_select(list(names), source)

    def _others(self) -> Executable:
        """Of rolling windows: what the other buckets hold. Rows are [anchor, since, own key]."""
        rows = self._rows("asked")
        anchor, since, own = (
            self._field(rows, 0, Text()),
            self._field(rows, 1, BigInteger()),
            self._field(rows, 2, Text()),
        )
        b = budget.c
        asked = select(anchor.label("anchor"), since.label("since"), own.label("own")).subquery()
        spent = b.held + b.posted > literal_column("0")
        return (
            select(
                asked.c.own,
                cast(func.sum(b.held), BigInteger),
                cast(func.sum(b.posted), BigInteger),
                func.min(b.start).filter(spent),
            )
            .where(b.anchor == asked.c.anchor, b.start > asked.c.since, b.key != asked.c.own)
            .group_by(asked.c.own)
        )

    def _move(self) -> Executable:
        """Rows are [id, state, cost, units, due, sent, ended]."""
        rows = self._rows("moved")
        kinds = (Text(), Text(), BigInteger(), Text(), Double(), Double(), Double())
        names = ("id", "state", "cost", "units", "due", "sent", "ended")
        fields = [
            self._field(rows, at, kind).label(name)
            for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
        ]
        moved = select(*fields).subquery("moves")
        return (
            update(reservation)
            .values({name: moved.c[name] for name in names[1:]})
            .where(reservation.c.id == moved.c.id)
        )

    def _post(self) -> Executable:
        """Rows are [key, change of held, change of posted, told, cap]."""
        rows = self._rows("posted")
        kinds = (Text(), BigInteger(), BigInteger(), Integer(), BigInteger())
        names = ("key", "held", "posted", "told", "cap")
        fields = [
            self._field(rows, at, kind).label(name)
            for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
        ]
        change = select(*fields).subquery("changes")
        return (
            update(budget)
            .values(
                held=budget.c.held + change.c.held,
                posted=budget.c.posted + change.c.posted,
                told=change.c.told,
                cap=change.c.cap,
            )
            .where(budget.c.key == change.c.key)
        )

    def _due(self) -> Executable:
        """Rows is [now]."""
        r = reservation.c
        now = self._one(Double())
        return (
            select(r.id)
            .where(r.state.in_([literal_column("'R'"), literal_column("'D'")]), r.due <= now)
            .order_by(r.due)
            .suffix_with(literal_column("LIMIT 500"))
        )

    def _prune(self) -> Executable:
        """Rows is [before]; what is held or captured stays, whatever its age."""
        r = reservation.c
        ended = r.state.in_([literal_column("'S'"), literal_column("'X'")])
        old = (
            select(r.id)
            .where(ended, r.made < self._one(Double()))
            .order_by(r.made)
            .suffix_with(literal_column("LIMIT 500"))
        )
        return delete(reservation).where(r.id.in_(old))

    def _prune_budgets(self) -> Executable:
        b = budget.c
        nothing = literal_column("0")
        return delete(budget).where(
            b.ends > nothing, b.ends < self._one(Double()), b.held == nothing
        )

    def _one(self, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        rows = bindparam("rows", type_=Text)
        if self._lite:
            return func.json_extract(rows, literal_column("'$[0]'"))
        return cast(
            cast(rows, postgresql.JSON).op("->>")(literal_column("0")),
            kind,
        )


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(kind, Text) or kind.python_type is str else kind
