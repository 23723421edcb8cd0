"""Connections to backends, kept open between calls, and the answers that come on them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from router.http1.connection import Connection
from router.http1.origin import ConnectFailed, Origin

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 20.0
"""Most servers keep an idle connection longer; one that is closed meanwhile leaves the pool."""


class Pool:
    """Open connections, by origin. Close it at shutdown."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def take(self, origin: Origin, seconds: float = CONNECT_SECONDS) -> Connection:
        """A connection to use once, idle or new within *seconds*. Raises ConnectFailed."""
        return self._idling(origin) or await self._connect(origin, seconds)

    async def ask(
        self,
        connection: Connection,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        whole: bool = True,
    ) -> Response:
        """Send one request; its response when it is *whole*, or after its headers.

        GET without a body, POST with one. Raises Broken. Cancelling it closes the connection; a
        response that is not whole must be closed.
        """
        try:
            request = _request(connection.origin, path, body, headers or {})
            await connection.ask(request, whole=whole)
        except BaseException:
            connection.abort()
            raise
        response = Response(connection, self)
        if connection.complete:
            response.finish()
        return response

    async def exchange(
        self,
        origin: Origin,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        whole: bool = True,
    ) -> Response:
        """Take a connection and ask. Raises ConnectFailed, Broken."""
        return await self.ask(await self.take(origin), path, body, headers, whole=whole)

    async def alone(self, origin: Origin, path: str) -> Response:
        """GET on a connection that is for it alone. Raises ConnectFailed, Broken."""
        connection = await self._connect(origin, CONNECT_SECONDS)
        connection.alone = True
        return await self.ask(connection, path, headers={"connection": "close"})

    def put(self, connection: Connection) -> None:
        """Keep a connection whose answer is over for the next call, if it can be."""
        if connection.reusable:
            connection.since = connection.now()
            self._idle.setdefault(connection.origin, []).append(connection)
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """A server closed an idle connection."""
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)

    def sweep(self) -> None:
        """Close what has been idle too long: the one used last goes first, so some never go."""
        for origin, idle in list(self._idle.items()):
            old = [one for one in idle if one.now() - one.since >= IDLE_SECONDS]
            del idle[: len(old)]
            for connection in old:
                connection.abort()
            if not idle:
                del self._idle[origin]

    async def close(self) -> None:
        for connections in self._idle.values():
            for connection in list(connections):
                connection.abort()
        self._idle.clear()

    def _idling(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.now() - connection.since < IDLE_SECONDS and not connection.lost:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        tls = None
        if origin.tls:
            tls = self._tls = self._tls or ssl.create_default_context()
        try:
            async with asyncio.timeout(seconds):
                _, protocol = await loop.create_connection(
                    lambda: Connection(origin, self), origin.host, origin.port, ssl=tls
                )
        except TimeoutError as exc:
            raise ConnectFailed(f"no connection within {seconds:.3g} s") from exc
        except OSError as exc:  # refused, unreachable, unknown name, certificate
            raise ConnectFailed(exc.strerror or str(exc)) from exc
        return protocol


class Response:
    """One answer. `body` is filled when it was asked for whole."""

    __slots__ = ("_connection", "_pool", "body", "headers", "status")

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self.status = connection.status
        self.headers = connection.headers
        self.body = connection.taken() if connection.complete else b""

    async def read(self) -> bytes:
        """The next bytes of a stream; b"" at its end. Raises Broken."""
        if self.body:
            rest, self.body = self.body, b""
            return rest
        connection = self._connection
        if connection is None:
            return b""
        piece = await connection.piece()
        if not piece:
            self.finish()
        return piece

    def finish(self) -> None:
        """The answer is over: its connection belongs to the pool again, and to the next call."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.put(connection)

    def expire(self, why: str) -> None:
        """Its time is over: a reader that waits, or comes again, gets Broken."""
        if self._connection is not None:
            self._connection.fail(why)

    def close(self) -> None:
        """Leave: an answer that is not over yet takes its connection along."""
        connection = self._connection
        if connection is None:
            return
        if connection.complete:
            self.finish()
        else:
            connection.abort()


def _request(origin: Origin, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    method = "GET" if body is None else "POST"
    lines = [f"{method} {origin.path}{path} HTTP/1.1\r\nhost: "]
    tail = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if "\n" in path or tail.count("\n") != len(headers):
        raise ValueError("a header or path holds a line break")
    length = "" if body is None else f"content-length: {len(body)}\r\n"
    head = f"\r\naccept: */*\r\n{length}{tail}\r\n".encode("latin-1")
    return lines[0].encode("latin-1") + origin.header + head + (body or b"")
