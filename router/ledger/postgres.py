"""PostgreSQL: one connection per process, pipelined, so that a batch is three round trips.

A call that hangs (a server that is stopped, a cable that is cut) is ended by shutting the socket
down from another thread; whatever was in flight then has an unknown outcome.

`synchronous_commit` stays as the server has it, on, for all that a call waits for: a reservation
survives the server's crash. Settlements alone do not wait for the disk. One that a crash loses
leaves its attempt dispatched, so the sweep captures the bound: too much, never too little.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.psycopg import dialect

from .statements import ROWS, Statement, Statements

encode = msgspec.json.Encoder().encode
Rows = Sequence[Sequence[Any]]


class PostgresDriver:
    """One connection to *url*. *patience*: seconds to wait for a lock, and for the server."""

    prompt = False

    def __init__(self, url: URL, *, patience: float = 0.5) -> None:
        self.statements = Statements(dialect())  # type: ignore[no-untyped-call]
        self._info = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._patience = patience
        self._connection: psycopg.Connection[Any] | None = None
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        wait = max(1, round(self._patience))
        connection = psycopg.connect(
            self._info,
            autocommit=True,
            connect_timeout=max(2, wait),
            application_name="isocost ledger",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            prepare_threshold=1,
        )
        milliseconds = int(self._patience * 1000)
        connection.execute(f"SET lock_timeout = {milliseconds}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds * 10}")
        # Given rows are guessed to be 100; with that guess small tables would be read whole.
        for plan in ("jit", "enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            connection.execute(f"SET {plan} = off")
        self._connection, self._cursor = connection, connection.cursor()
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._pipeline: Any = None

    def close(self) -> None:
        for thing in (self._socket, self._connection):
            if thing is not None:
                with suppress(Exception):
                    thing.close()
        self._socket = self._connection = None

    def away(self, exc: Exception) -> bool:
        """No connection, or a lock that did not come: not a bad move."""
        return isinstance(exc, (psycopg.OperationalError, psycopg.InterfaceError))

    def abort(self) -> None:
        with suppress(OSError, AttributeError):
            assert self._socket is not None
            self._socket.shutdown(socket.SHUT_RDWR)

    def tidy(self) -> None:
        """Nothing to do: the server does it."""

    def begin(self, *, durable: bool = True, wait: bool = True) -> None:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        self._pipeline = self._connection.pipeline()
        self._pipeline.__enter__()
        self._cursor.execute("BEGIN")
        if not durable:
            self._cursor.execute("SET LOCAL synchronous_commit = off")

    def commit(self) -> None:
        self._cursor.execute("COMMIT")
        pipeline, self._pipeline = self._pipeline, None
        pipeline.__exit__(None, None, None)

    def rollback(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        with suppress(psycopg.Error):
            if pipeline is not None:
                pipeline.__exit__(None, None, None)
        with suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.execute("ROLLBACK")

    def fetch(self, sql: Statement, rows: Rows) -> list[tuple[Any, ...]]:
        return self._cursor.execute(sql.text, _given(sql, rows)).fetchall()

    def write(self, sql: Statement, rows: Rows) -> None:
        self._cursor.execute(sql.text, _given(sql, rows))

    def alone(self, sql: Statement, rows: Rows) -> tuple[list[tuple[Any, ...]], int]:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        cursor = self._cursor.execute(sql.text, _given(sql, rows))
        return (cursor.fetchall() if cursor.description else []), cursor.rowcount


def _given(sql: Statement, rows: Rows) -> dict[str, str]:
    if not sql.width:
        return {}
    names = [f"a{at}" for at in range(sql.width)]
    return {ROWS: encode([dict(zip(names, row, strict=True)) for row in rows]).decode()}
