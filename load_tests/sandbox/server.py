"""The listener: opens, refuses for a while (the fault `refuse`), closes; the state stays."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from load_tests.sandbox.http1 import App, Connection

FLUSH = 0.02  # seconds in which the answer that announced a refusal still leaves


class Front:
    """Listens for one application."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connections: set[Connection] = set()
        self._changed = asyncio.Event()
        self._stopping = False
        self._away = 0.0

    def refuse(self, seconds: float) -> None:
        """Close the listener and every connection shortly, and open again after `seconds`."""
        self._away = seconds
        asyncio.get_running_loop().call_later(FLUSH, self._changed.set)

    def stop(self) -> None:
        """End for good."""
        self._stopping = True
        self._changed.set()

    async def run(self, app: App, host: str, ready: Callable[[int], None]) -> None:
        """Serve until stopped; `ready` is told the port when it listens for the first time."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            server = await loop.create_server(self._connection(app), host, self.port, backlog=1024)
            if not self.port:
                self.port = server.sockets[0].getsockname()[1]
            ready(self.port)
            await self._changed.wait()
            self._changed.clear()
            server.close()
            for connection in tuple(self._connections):
                connection.transport.abort()
            away, self._away = self._away, 0.0
            if not self._stopping:
                await asyncio.wait({loop.create_task(self._changed.wait())}, timeout=away)

    def _connection(self, app: App) -> Callable[[], Connection]:
        return lambda: Connection(app, self._connections)


async def serve(front: Front, app: App, *, host: str, state: Path | None, profile: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Prints one line when it is ready; while it runs, `state` holds sandbox.json with pid and URL.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, front.stop)
    told = False

    def ready(port: int) -> None:
        nonlocal told
        if told:
            return
        told = True
        url = f"http://{host}:{port}"
        if state is not None:
            state.mkdir(parents=True, exist_ok=True)
            known = msgspec.json.encode({"pid": os.getpid(), "url": url})
            (state / "sandbox.json").write_bytes(known)
        print(f"sandbox ready on {url} (profile {profile})", flush=True)  # noqa: T201

    try:
        await front.run(app, host, ready)
    finally:
        if state is not None:
            (state / "sandbox.json").unlink(missing_ok=True)
