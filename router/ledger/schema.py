"""The tables, one form for SQLite and PostgreSQL.

Money is BIGINT pico-dollars, times are unix seconds, lists and units are JSON text. The check
constraints are a net below the protocol: they never fire while it holds.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s"}
)

budget = Table(
    "budget",
    metadata,
    Column("key", Text, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("span", String(16), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("cap", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("told", Integer, nullable=False, server_default="0"),
    Column("anchor", Text, nullable=False, server_default=""),
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("posted >= 0", name="posted"),
    Index("ix_budget_anchor", "anchor", "start"),
    sqlite_with_rowid=False,
)
"""A window of a budget: its limit when last seen, what is held and what is posted.

Of a rolling budget each row is a bucket; its anchor is a row too, without money: the lock of all
who reserve, and what was told. `ends` 0: never.
"""

reservation = Table(
    "reservation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("call", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("backend", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("price", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("budgets", Text, nullable=False),
    Column("state", String(1), nullable=False),
    Column("bound", BigInteger, nullable=False),
    Column("cost", BigInteger),
    Column("units", Text, nullable=False),
    Column("made", Double, nullable=False),
    Column("due", Double, nullable=False),
    Column("sent", Double),
    Column("ended", Double),
    CheckConstraint("state IN ('R', 'D', 'C', 'S', 'X')", name="state"),
    CheckConstraint("bound >= 0", name="bound"),
    Index(
        "ix_reservation_live",
        "due",
        sqlite_where=text("state IN ('R', 'D')"),
        postgresql_where=text("state IN ('R', 'D')"),
    ),
    Index(
        "ix_reservation_captured",
        "made",
        sqlite_where=text("state = 'C'"),
        postgresql_where=text("state = 'C'"),
    ),
    # Partial, so that a reserve touches one index only: a call waits for it.
    Index(
        "ix_reservation_ended",
        "made",
        sqlite_where=text("state IN ('S', 'X')"),
        postgresql_where=text("state IN ('S', 'X')"),
    ),
    sqlite_with_rowid=False,
)
"""One attempt: what is held, or what it took. `budgets` are the keys of the rows that it is in."""

frozen = Table(
    "frozen",
    metadata,
    Column("price", Text, primary_key=True),
    Column("reservation", Text, nullable=False),
    Column("at", Double, nullable=False),
)
"""Price entries whose bound was once too low."""

caller = Table(
    "caller",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("routes", Text),
    Column("tasks", Text),
    Column("tags", Text, nullable=False),
    Column("made", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Column("rates", Text, nullable=False),
    Column("budgets", Text, nullable=False),
    Index("ix_caller_name", "name"),
)
"""Keys: SHA-256 of the secret in hex, never the secret."""

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""`version`: goes up with every change of a key or of a frozen price; replicas poll it."""
