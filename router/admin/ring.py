"""The store's keys, read again whenever they changed; until then the last ones are in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from router.ledger.database import engine
from router.ledger.keys import KeyRow, listed

log = logging.getLogger("isocost")


class Ring:
    """Tells *read* all keys of the store, in the loop, where `changed` is called too."""

    def __init__(self, url: URL, read: Callable[[list[KeyRow]], None]) -> None:
        self._engine, self._read = engine(url, patience=2.0), read
        self._stale, self._lock = True, asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        self._stale = True
        task = asyncio.get_running_loop().create_task(self.look())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look(self) -> None:
        """Read the keys if they changed since they were read. Never raises for a store's sake."""
        async with self._lock:
            while self._stale:
                self._stale = False
                try:
                    rows = await asyncio.to_thread(listed, self._engine)
                except SQLAlchemyError as exc:
                    self._stale = True
                    log.warning("keys of the ledger cannot be read now: %s", type(exc).__name__)
                    return
                self._read(rows)
