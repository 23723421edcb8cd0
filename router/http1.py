"""HTTP/1.1 towards backends, on the loop itself: a pool of connections, one call at a time on each.

Why not a client library: the fastest one does not close its connection when a call is cancelled,
the others cost at least three times the CPU (`docs/decisions/0003-http-client.md`). Parsing is
llhttp's, by `httptools`; TLS and name look-up are the loop's.

Guarantees: cancelling a wait closes the connection at once. A connection goes back to the pool
only after a whole answer that allows it. A body shorter than it said is Broken, never an end; what
comes after the end, or unasked, ends the connection: it is no part of any answer.
Bounded: bytes of headers, of trailers and of framing between two pieces of a body, body bytes of a
whole answer, bytes buffered of a stream (reading pauses).
Not done: HTTP/2, proxies, compression (none is asked for), redirects (an API has none to follow).

Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

HEADERS_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024
BUFFER_LIMIT = 256 * 1024
TOO_LONG = f"headers longer than {HEADERS_LIMIT} bytes"
PIECES = 64
"""Pieces of a body that are kept as they came; more become one run of bytes."""
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 20.0
"""Most servers keep an idle connection longer; one that is closed meanwhile leaves the pool."""


class ConnectFailed(Exception):
    """No connection, so nothing was sent."""


class Broken(Exception):
    """Sent, and no whole answer came."""


class Origin(msgspec.Struct, frozen=True):
    """Where a server is: scheme, host and port, and the path that its URLs begin with."""

    host: str
    port: int
    tls: bool
    path: str
    header: bytes
    """The Host header."""

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError for what is no http(s) URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, tls, parts.path.rstrip("/"), parts.netloc.encode())


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


class Connection(asyncio.Protocol):
    """One connection, and the state of the answer that is being read on it."""

    def __init__(self, origin: Origin, pool: Pool) -> None:
        self.origin, self._pool = origin, pool
        self.now = asyncio.get_running_loop().time
        self.since = 0.0
        self.lost = self._busy = self._whole = self._paused = False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = self._headed = self._keep = False
        self._parts: list[bytes] = []
        self._run = bytearray()
        self._size = self._head_size = self._bodiless = 0
        self._error: Broken | None = None

    # What a call does

    async def ask(self, request: bytes, *, whole: bool) -> None:
        """Write a request and wait for its answer, or for its headers."""
        self._reset()
        self._busy, self._whole = True, whole
        self._transport.write(request)
        while not (self.complete if whole else self._headed):
            await self._wait()

    async def piece(self) -> bytes:
        """Bytes that have come; b"" when the answer is over."""
        while not self._parts:
            if self.complete:
                return b""
            await self._wait()
        return self.taken()

    def taken(self) -> bytes:
        """What has come; room is made for more."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        parts, self._parts, self._size = self._parts, [], 0
        if self._run:
            parts = [bytes(self._run), *parts]
            self._run = bytearray()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def reusable(self) -> bool:
        return self.complete and self._keep and not self.lost

    def abort(self) -> None:
        self._busy = False
        self._transport.abort()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._parts:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, why: str) -> None:
        if self._busy and not self.complete:
            self._error = Broken(why)
            self._wake()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # Nobody asked: it would pass for the answer to the next call.
            self._keep = False
            self._transport.abort()
            return
        # A header or a trailer that never ends is not told to `on_header`, nor is a chunk's
        # extension or an endless row of interim answers.
        self._bodiless += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.fail(f"not an HTTP answer: {exc.__context__ or exc or 'another protocol'}")
            self._transport.abort()
            return
        if self._bodiless > 2 * HEADERS_LIMIT and not self.complete:
            self.fail(TOO_LONG)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self._busy:
            self._pool.forget(self)
        elif self._headed and not self.complete and self._to_the_end():
            self._over()
        else:
            seen = "before its answer was whole" if self._headed else "without an answer"
            self.fail(f"the connection was closed {seen}")

    def _to_the_end(self) -> bool:
        """An answer without a length ends with its connection (RFC 9112 6.3)."""
        chunked = b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        return not chunked and b"content-length" not in self.headers

    def _over(self) -> None:
        self.complete, self._busy = True, False
        self._wake()

    # What the parser tells

    def on_message_begin(self) -> None:
        if self.complete:
            self._keep = False
            raise ValueError("more came than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > HEADERS_LIMIT:
            raise ValueError(TOO_LONG)
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._headed = True
            if not self._whole:
                self._wake()

    def on_body(self, body: bytes) -> None:
        self._bodiless = 0
        if len(self._parts) == PIECES:
            # A list of millions of tiny pieces would take many times their size.
            self._run += b"".join(self._parts)
            self._parts.clear()
        self._parts.append(body)
        self._size += len(body)
        if self._whole:
            if self._size > BODY_LIMIT:
                self.fail(f"an answer longer than {BODY_LIMIT} bytes")
                self._transport.abort()
            return
        if self._size > BUFFER_LIMIT and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            self.headers = {}
            return
        self._keep = self._parser.should_keep_alive()
        self._over()
