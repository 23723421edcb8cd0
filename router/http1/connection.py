"""One connection to a backend: writes a request, reads its answer, within bounds."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from router.http1.origin import Broken, Origin

HEADERS_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024
BUFFER_LIMIT = 256 * 1024
TOO_LONG = f"headers longer than {HEADERS_LIMIT} bytes"
PIECES = 64
"""Pieces of a body that are kept as they came; more become one run of bytes."""


class Owner(Protocol):
    """Who keeps a connection while it is idle."""

    def forget(self, connection: Connection) -> None:
        """The server closed it."""


class Connection(asyncio.Protocol):
    """One connection, and the state of the answer that is being read on it."""

    def __init__(self, origin: Origin, owner: Owner) -> None:
        self.origin, self._owner = origin, owner
        self.now = asyncio.get_running_loop().time
        self.since = 0.0
        self.alone = False
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
        return self.complete and self._keep and not self.lost and not self.alone

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
            self._owner.forget(self)
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
