"""Opening the store by its URL, and bringing its schema up to date.

    sqlite:///var/router/ledger.db     ledger.db, or a bare path: a file on this machine
    postgresql://user@host/database    for replicas; needs `pip install isocost[postgres]`

Steps of the schema are run by Alembic, one process at a time: SQLite by the lock of the file,
PostgreSQL by an advisory lock.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .migrations import HEAD
from .sqlite import SqliteDriver
from .store import Driver

log = logging.getLogger("isocost.ledger")
LOCK = 0x150C057
"""Of PostgreSQL's advisory locks, the one that upgrades take."""


def address(where: str) -> URL:
    """The store's URL of a URL or a path. Raises ValueError with what to write instead."""
    try:
        url = make_url(where if "://" in where else f"sqlite:///{where}")
    except (ArgumentError, ValueError):
        # Without what it was: there may be a password in it.
        raise ValueError(
            "The ledger's address is not a URL; "
            "write sqlite:///file or postgresql://user@host:5432/database."
        ) from None
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ValueError("The ledger needs a file, such as sqlite:///var/router/ledger.db.")
        return url.set(drivername="sqlite")
    if url.get_backend_name() != "postgresql":
        raise ValueError(
            f"The ledger cannot be kept in {url.get_backend_name()}; "
            "write sqlite:///file or postgresql://user@host/database."
        )
    if find_spec("psycopg") is None:
        raise ValueError("A ledger in PostgreSQL needs `pip install isocost[postgres]`.")
    return url.set(drivername="postgresql+psycopg")


def driver(
    url: URL, *, patience: float = 0.5, synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
) -> Driver:
    """A connection for the hot path, not yet made."""
    if url.get_backend_name() == "sqlite":
        return SqliteDriver(str(url.database), patience=patience, synchronous=synchronous)
    from .postgres import PostgresDriver  # noqa: PLC0415 - psycopg is an extra

    return PostgresDriver(url, patience=patience)


def engine(url: URL, *, patience: float = 5.0) -> Engine:
    """For what is not hot: keys, books, upgrades. Every connection is opened anew."""
    if url.get_backend_name() != "sqlite":
        wait = {"connect_timeout": max(2, round(patience))}
        return create_engine(url, poolclass=NullPool, connect_args=wait)
    made = create_engine(url, poolclass=NullPool, connect_args={"timeout": patience})

    # The driver's own transactions begin late and read-only; ours must hold the lock from the
    # start. Source: https://docs.sqlalchemy.org/en/21/dialects/sqlite.html (read 2026-11-23)
    @event.listens_for(made, "connect")
    def no_driver_transactions(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(made, "begin")
    def immediately(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return made


def upgrade(url: URL) -> None:
    """Bring the schema to its newest step, or make it. Safe from many processes at once."""
    migrate(url)


def migrate(url: URL) -> str | None:
    """Bring the schema to its newest step, or make it; the step that it was at.

    Safe from many processes at once.
    """
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    made = engine(url, patience=30.0)
    try:
        with made.begin() as connection:
            if made.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            found = _step(connection)
            if found != HEAD:
                _run(connection)
                done = "upgraded" if found else "made"
                log.info("the ledger's tables were %s: schema %s", done, HEAD)
            return found
    finally:
        made.dispose()


def there(url: URL) -> bool:
    """Whether there is a ledger; nothing is made by asking. Raises SQLAlchemyError."""
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        return False
    made = engine(url)
    try:
        with made.connect() as connection:
            return _step(connection) is not None
    finally:
        made.dispose()


def _step(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a third of a second, needed once per version
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each of its steps
    command.upgrade(config, "head")
