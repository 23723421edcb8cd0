"""Real routers that kill themselves at a named point: `python -m tests.system.router.dying`.

Reads one JSON object a line ({"point", "passing", "grace", "ahead", "words", "log"}), starts `isocost
serve` with these words, and prints how that process ended. At the *passing*-th time that it comes to
*point* it sends itself SIGKILL, as the kernel does when memory is short. What it held is due *grace*
seconds after the deadline, and its sweep looks *ahead* so many seconds. Each router is a process of
its own, forked from this one, which has everything imported: a start takes a tenth of a second.

The router's own parts are wrapped as they are made; nothing in the product knows of the points.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import alembic.command
import msgspec
import psycopg

from router import runtime
from router.cli import serve
from router.core.api import Endpoint
from router.core.call import Call
from router.core.reply import Reply
from router.core.service import Service
from router.http1 import pool
from router.http1.connection import Connection
from router.layers import booking
from router.ledger.ledger import Ledger

PR_SET_PDEATHSIG = 1
At = Callable[[str], None]
assert alembic.command
assert psycopg  # imported here for all that are forked


class Fate:
    def __init__(self, point: str, passing: int) -> None:
        self._point, self._left = point, passing

    def at(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def doomed(at: At, ahead: float) -> type[runtime.Runtime]:
    """A runtime that tells *at* where it is."""

    class Doomed(runtime.Runtime):
        def _send(self, endpoint: Endpoint) -> Service:
            return _sending(super()._send(endpoint), at)

        async def _open_ledger(self) -> None:
            await super()._open_ledger()
            assert self.ledger is not None
            _books(self.ledger, at)

        async def _sweep(self) -> None:
            assert self.ledger is not None
            await self.ledger.sweep(time.time() + ahead)

    return Doomed


def _sending(inner: Service, at: At) -> Service:
    async def send(call: Call) -> Reply:
        at("before send")
        reply = await inner(call)
        if reply.events is None:
            at("after usage")
        else:
            at("after first byte")
            reply.events = _events(reply.events, at)
        return reply

    return send


async def _events(inner: AsyncIterator[Any], at: At) -> AsyncIterator[Any]:
    seen = 0
    try:
        async for event in inner:
            seen += 1
            if seen == 3:
                at("before usage")
            yield event
    finally:
        await inner.aclose()  # type: ignore[attr-defined]
    at("after usage")


def _books(ledger: Ledger, at: At) -> None:
    reserve, settle, store = ledger.reserve, ledger.settle, ledger._store
    run, doing = store.run, set[str]()

    async def reserving(ask: Any, **more: Any) -> Any:
        at("before reserve")
        hold = await reserve(ask, **more)
        at("after reserve")
        return hold

    def settling(*what: Any) -> None:
        at("before settle")
        settle(*what)
        at("after settle")

    def running(batch: Any, **more: Any) -> Any:
        doing.clear()
        doing.update(type(move).__name__.lower() for move in batch)
        return run(batch, **more)

    def probe(point: str) -> None:
        for kind in tuple(doing):
            at(f"{point} of {kind}")

    ledger.reserve, ledger.settle = reserving, settling  # type: ignore[method-assign]
    store.run, store._probe = running, probe  # type: ignore[method-assign]


def _connection(at: At) -> type[Connection]:
    class Doomed(Connection):
        async def ask(self, request: bytes, *, whole: bool) -> None:
            loop = self._loop
            # What is written leaves at the end of the loop's turn: two turns later it has left.
            loop.call_soon(loop.call_soon, loop.call_soon, at, "after send")
            await super().ask(request, whole=whole)

        def connection_made(self, transport: Any) -> None:
            self._loop = asyncio.get_running_loop()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            at("before first byte")
            super().data_received(data)

    return Doomed


class Life(msgspec.Struct):
    point: str
    words: list[str]
    log: str
    passing: int
    grace: float
    ahead: float


def live(life: Life) -> int:
    """Serve until the end, in this process, which does not outlive the one that forked it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.open(life.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    at = Fate(life.point, life.passing).at
    booking.GRACE = life.grace
    booking._process = os.urandom(8).hex()  # made at import, so all that are forked would share it
    pool.Connection = _connection(at)  # type: ignore[misc]
    serve.Runtime = doomed(at, life.ahead)  # type: ignore[misc]
    return serve.main(life.words)


def main() -> None:
    say("ready")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 70
            try:
                code = live(msgspec.json.decode(line, type=Life))
            except BaseException:  # noqa: BLE001 - the process ends here
                traceback.print_exc()
            finally:
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        say(str(ended))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
