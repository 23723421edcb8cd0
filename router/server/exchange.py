"""One request and its answer: the ASGI application's receive and send."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from router.server.bounds import BODY_BUFFER

if TYPE_CHECKING:
    from router.server.connection import Connection


log = logging.getLogger("isocost")
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REASONS = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
BODILESS = {204, 304}


class Exchange:
    """One request and its answer: the `receive` and `send` of an application."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_bare",
        "_chunked",
        "_connection",
        "_done",
        "_expects",
        "_lost",
        "_parts",
        "_scope",
        "_size",
        "_status",
        "_told",
        "_waiter",
        "_whole",
        "keep",
    )

    def __init__(self, connection: Connection, scope: dict[str, Any], *, keep: bool) -> None:
        self._connection, self._scope, self.keep = connection, scope, keep
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = self._told = self._lost = self._done = self._chunked = False
        self._waiter: asyncio.Future[None] | None = None
        self._ahead: list[tuple[bytes, bytes]] | None = None
        self._asked = self._expects = False
        self._status = 0
        self._bare = scope["method"] == "HEAD"

    @property
    def path(self) -> str:
        return str(self._scope["path"])

    async def run(self, app: App) -> None:
        """Let *app* answer."""
        connection = self._connection
        try:
            await app(self._scope, self.receive, self.send)
            if not self._done and not self._lost:
                raise RuntimeError("the application ended without a whole answer")  # noqa: TRY301
        except asyncio.CancelledError:
            connection.abort()
            raise
        except Exception:
            log.exception("%s %s broke", self._scope["method"], self._scope["path"])
            if self._ahead is None and not self._status and not self._lost:
                self.keep = False
                await self.send({"type": "http.response.start", "status": 500, "headers": []})
                await self.send({"type": "http.response.body"})
            else:
                connection.abort()
        finally:
            if not connection.lost:
                connection.over(self)

    # What the connection tells

    def feed(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)
        if self._size > BODY_BUFFER:
            self._connection.pause()
        self._wake()

    def whole(self) -> None:
        self._whole = True
        self._wake()

    def gone(self) -> None:
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the application does

    async def receive(self) -> dict[str, Any]:
        """The body in pieces, then the client's leaving."""
        if not self._asked and not self._whole:
            self._asked = True
            if (b"expect", b"100-continue") in self._scope["headers"] and not self._parts:
                self._connection.transport.write(CONTINUE)
        while True:
            if self._lost:
                return {"type": "http.disconnect"}
            if self._parts or (self._whole and not self._told):
                parts, self._parts, self._size = self._parts, [], 0
                self._connection.resume()
                self._told = self._whole
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                return {"type": "http.request", "body": body, "more_body": not self._whole}
            if self._done:
                return {"type": "http.disconnect"}
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def send(self, message: dict[str, Any]) -> None:
        """A head, which waits for the first piece of its body; or a piece."""
        if message["type"] == "http.response.start":
            if self._status:
                raise RuntimeError("an answer begins once")
            self._status, self._ahead = message["status"], message.get("headers") or []
            return
        if not self._status:
            raise RuntimeError("an answer begins with its head")
        if self._lost or self._done:
            return
        connection = self._connection
        out = self._piece(message.get("body", b""), more=message.get("more_body", False))
        if out:
            connection.sent += len(out)
            connection.transport.write(out)
        if connection.full:
            await connection.room()

    def _piece(self, body: bytes, *, more: bool) -> bytes:
        out = b""
        if self._ahead is not None:
            out = self._head(len(body), more=more)
            self._ahead = None
        self._done = not more
        if self._bare:
            return out
        if not self._chunked:
            return out + body
        if body:
            out += b"%x\r\n%b\r\n" % (len(body), body)
        return out if more else out + b"0\r\n\r\n"

    def _head(self, size: int, *, more: bool) -> bytes:
        status, headers = self._status, self._ahead or ()
        bodiless = status in BODILESS or status < 200
        self._bare = self._bare or bodiless
        lines = [REASONS.get(status) or b"HTTP/1.1 %d \r\n" % status]
        sized = False
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            sized = sized or name.lower() == b"content-length"
        if sized or bodiless:
            pass
        elif not more:
            lines.append(b"content-length: %d\r\n" % size)
        elif self._scope["http_version"] == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            self.keep = False  # its end is the connection's
        if not self.keep or self._connection.leaving:
            self.keep = False
            lines.append(b"connection: close\r\n")
        elif self._scope["http_version"] == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines):
            raise ValueError("a header holds a line break")
        return head
