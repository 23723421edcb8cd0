"""The server: accepts connections, sweeps them, ends them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection

from router.server.bounds import LAST_WORD_SECONDS, STOPPED, SWEEP_SECONDS
from router.server.connection import Connection
from router.server.exchange import App

log = logging.getLogger("isocost")


class Server:
    """Serves *app* on an open socket; *grace* is seconds for calls under way when it is stopped."""

    def __init__(
        self,
        app: App,
        *,
        grace: float = 30.0,
        limit: int | None = None,
        crowded: App | None = None,
        spared: Collection[str] = (),
    ) -> None:
        """*limit*: connections at most; None: as many as come."""
        self.app, self._grace = app, grace
        self.limit, self.crowded, self.spared = limit, crowded or app, spared
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = self.leaving = False
        self._asked = asyncio.Event()
        self._left = asyncio.Event()

    @property
    def over(self) -> int:
        """Connections beyond the limit."""
        return 0 if self.limit is None else len(self.connections) - self.limit

    def drain(self) -> None:
        """Serve on, but let each answer be its connection's last: clients then go elsewhere."""
        self.leaving = True

    def stop(self) -> None:
        """Take no more, finish what is under way. A second time: leave that, too."""
        if self.stopping:
            self._left.set()
        self.stopping = self.leaving = True
        self._asked.set()

    async def serve(self, listener: socket.socket) -> None:
        """Returns once stopped. The listener is closed."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=listener, backlog=1024)
        sweeping = loop.create_task(self._sweep())
        try:
            await self._asked.wait()
        finally:
            sweeping.cancel()
            server.close()
            for connection in list(self.connections):
                connection.leave()
            await self._finish()

    async def _finish(self) -> None:
        self.settled()
        try:
            async with asyncio.timeout(self._grace):
                await self._left.wait()
        except TimeoutError:
            log.warning("%d connections are cut after the grace", len(self.connections))
        for task in list(self.tasks):
            task.cancel(STOPPED)
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=LAST_WORD_SECONDS)
        for connection in list(self.connections):
            connection.abort()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def ended(self, task: asyncio.Task[None]) -> None:
        """A call is over."""
        self.tasks.discard(task)
        self.settled()

    def settled(self) -> None:
        """Somebody has left, maybe the last one."""
        if self.stopping and not self.connections and not self.tasks:
            self._left.set()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self.connections):
                connection.sweep(now)
