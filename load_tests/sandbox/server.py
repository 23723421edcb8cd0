"""Runs the application on granian inside this process's own loop.

One process holds the server and the state, so the listener can go away for a while (the fault
`refuse`) and come back with the bill, the journal and the rules as they were.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from load_tests.sandbox.wire import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]
START = 0.02  # seconds between two looks at whether the port answers


class Front:
    """The listener: opens, refuses for a while, closes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopping = asyncio.Event()
        self._away = 0.0
        self._server: Server | None = None

    def refuse(self, seconds: float) -> None:
        """Close the listener and every connection shortly, and open again after `seconds`."""
        self._away = seconds
        asyncio.get_running_loop().call_later(0.02, self._stop)

    def stop(self) -> None:
        """End for good."""
        self._stopping.set()
        self._stop()

    async def run(self, app: App, ready: Callable[[], None]) -> None:
        """Serve until stopped."""
        while not self._stopping.is_set():
            self._server = Server(
                app,
                address="127.0.0.1",
                port=self._port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.http1,
                websockets=False,
                backlog=1024,
                log_enabled=False,
            )
            serving = asyncio.create_task(self._server.serve())
            if await self._answers(serving):
                ready()
            await serving
            away, self._away = self._away, 0.0
            if away:
                await asyncio.wait({asyncio.create_task(self._stopping.wait())}, timeout=away)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()  # type: ignore[no-untyped-call]

    async def _answers(self, serving: asyncio.Task[None]) -> bool:
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(START)
            else:
                writer.close()
                return True
        return False


async def serve(front: Front, app: App, *, state: Path | None, port: int, ready: str) -> None:
    """Serve until SIGTERM or SIGINT; while it runs, `state` holds sandbox.json with pid and URL."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, front.stop)
    told = state / "sandbox.json" if state is not None else None

    def say() -> None:
        if told is not None and not told.exists():
            told.parent.mkdir(parents=True, exist_ok=True)
            told.write_bytes(
                msgspec.json.encode({"pid": os.getpid(), "url": f"http://127.0.0.1:{port}"})
            )
        nonlocal ready
        if ready:
            print(ready, flush=True)  # noqa: T201 - the one line that says it is ready
            ready = ""

    try:
        await front.run(app, say)
    finally:
        if told is not None:
            told.unlink(missing_ok=True)
