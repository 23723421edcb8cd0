"""SQLite: one file, several processes of one machine.

Write-ahead log. `synchronous=NORMAL` (default): a committed transaction is in the operating
system's hands, so kill -9 of every process loses nothing; a power cut may lose the last commits,
never the file's consistency. FULL syncs each commit and survives a power cut as well.
Source: https://www.sqlite.org/pragma.html#pragma_synchronous (read 2026-11-23).

No commit copies the log into the database, for that waits for the disk: `tidy` does it, and then
makes the first write of the new log, which does as well. So with NORMAL no transaction waits for
the disk. Source: https://www.sqlite.org/wal.html#ckpt (read 2026-11-27).

The writers of other processes are waited for by short sleeps of our own: SQLite's busy handler
sleeps up to 100 ms between its tries, which is a hundred times what a transaction takes.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from sqlalchemy.dialects.sqlite import dialect

from .statements import ROWS, Statement, Statements
from .store import Busy

Rows = Sequence[Sequence[Any]]
CHUNK = 64
"""Rows per statement: as many texts of each are kept prepared at most."""
TIDY = 250
"""Commits after which the log is copied: some thousand pages of 4 KB."""
MOST_WAIT = 0.002
"""Seconds between two tries for the file's lock, at most."""


class SqliteDriver:
    """One connection to *path*. *patience*: seconds to wait for the file's lock."""

    def __init__(
        self,
        path: str,
        *,
        patience: float = 0.5,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    ) -> None:
        self.statements = Statements(dialect())
        self.prompt = synchronous == "NORMAL"
        self._path, self._patience, self._synchronous = path, patience, synchronous
        self._connection: sqlite3.Connection | None = None
        self._texts: dict[tuple[str, int], str] = {}
        self._commits = 0

    def connect(self) -> None:
        connection = sqlite3.connect(
            self._path,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=8 * CHUNK,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        self._connection, self._cursor = connection, connection.cursor()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def away(self, exc: Exception) -> bool:
        """Locked for too long, disk full, not writable, not a database: not a bad move."""
        return isinstance(exc, sqlite3.OperationalError) or type(exc) is sqlite3.DatabaseError

    def abort(self) -> None:
        """Nothing to do: every wait for the file ends by *patience*."""

    def begin(self, *, durable: bool = True, wait: bool = True) -> None:
        self._waiting("BEGIN IMMEDIATE", wait=wait)

    def commit(self) -> None:
        self._cursor.execute("COMMIT")
        self._commits += 1

    def tidy(self) -> None:
        """Copy the log into the database, where enough was written since."""
        if self._commits < TIDY:
            return
        self._commits = 0
        with suppress(sqlite3.OperationalError):  # others write: another time
            self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._cursor.execute("UPDATE meta SET value = value WHERE name = 'version'")

    def rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()

    def fetch(self, sql: Statement, rows: Rows) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for at in range(0, len(rows), CHUNK):
            some = rows[at : at + CHUNK]
            found += self._cursor.execute(self._text(sql, len(some)), _flat(some)).fetchall()
        return found

    def write(self, sql: Statement, rows: Rows) -> None:
        if not sql.width:
            self._cursor.execute(sql.text)
        for at in range(0, len(rows), CHUNK):
            some = rows[at : at + CHUNK]
            self._cursor.execute(self._text(sql, len(some)), _flat(some))

    def alone(self, sql: Statement, rows: Rows) -> tuple[list[tuple[Any, ...]], int]:
        self._waiting(self._text(sql, len(rows)), _flat(rows))
        return self._cursor.fetchall(), self._cursor.rowcount

    def _text(self, sql: Statement, rows: int) -> str:
        """*sql* with the places of its rows in it."""
        text = self._texts.get((sql.text, rows))
        if text is None:
            row = f"({', '.join('?' * sql.width)})"
            values = f"(VALUES {', '.join([row] * rows)})" if sql.width else ""
            text = self._texts[sql.text, rows] = sql.text.replace(ROWS, values)
        return text

    def _waiting(self, sql: str, values: Sequence[Any] = (), *, wait: bool = True) -> None:
        """Run *sql*, waiting for the writers of other processes. Raises OperationalError, Busy."""
        if self._connection is None:
            raise sqlite3.OperationalError("not connected")
        pause, until = 0.0001, 0.0
        while True:
            try:
                self._cursor.execute(sql, values)
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if not wait:
                    raise Busy from None
                now = time.monotonic()
                until = until or now + self._patience
                if now > until:
                    raise
            # Of different length, or two who wait would always try together.
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - keeps no secret
            pause = min(pause * 1.5, MOST_WAIT)


def _flat(rows: Rows) -> list[Any]:
    return [value for row in rows for value in row]
