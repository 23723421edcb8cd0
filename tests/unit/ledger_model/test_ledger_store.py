"""The store on SQLite does what the reference says."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import settings

from router.ledger.database import address, driver, upgrade
from router.ledger.store import Store

from .machine import LedgerMachine


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """With a file of the newest schema: copied, not made, for each example."""
    made = tempfile.TemporaryDirectory(prefix="ledger-")
    upgrade(address(f"{made.name}/empty.db"))
    return made


class OnSqlite(LedgerMachine):
    def fresh(self) -> Store:
        path = Path(folder().name) / "used.db"
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(path.with_name("empty.db"), path)
        connection = driver(address(str(path)))
        connection.connect()
        return Store(connection)


TestOnSqlite = OnSqlite.TestCase
TestOnSqlite.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
