"""HTTP/1.1 towards clients, on the loop itself: an ASGI server for one application.

Why our own: a request and its answer cross no thread and no second loop, which is most of what a
call alone costs (`docs/decisions/0006-http-server.md`). Parsing is llhttp's, by `httptools`.

Guarantees: an answer leaves in as few writes as it has pieces, its head with the first. A client's
leaving is told at once. Reading stops while the application does not take what came, writing waits
while the client does not read. An application that breaks in the middle of an answer cuts the
connection: never a normal end. One that outlasts the grace when the server stops is cancelled with
`STOPPED` and has `LAST_WORD_SECONDS` to say so. Requests on one connection are answered in their
order.
Bounded: bytes of a head, seconds of silence, seconds of a request that comes too slowly, seconds of
a client that takes nothing of its answer, seconds of an idle connection, and connections. A
connection that ends between two calls has been quiet for a while, so that no request of a busy
client crosses its end. Beyond the limit of connections `RESERVE` more are heard, for one request
each: *crowded* answers it without its body being read, or the application where the path is
*spared* (whoever watches this process must not think it dead because it is busy). More than these
are cut at once.
Not done: TLS (the ingress's), HTTP/2, websockets.

Source: RFC 9112; ASGI 3.0 (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools

log = logging.getLogger("isocost")
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

HEAD_LIMIT = 64 * 1024
BODY_BUFFER = 256 * 1024
"""Bytes of a body that are kept for an application that does not read."""
QUEUE = 64
"""Requests that one connection may send before their turn."""
AHEAD = 4
"""Of those, as many as are taken in while another is served: a client's leaving is seen only while
its connection is read."""
RESERVE = 64
"""Connections beyond the limit that are told so."""
SILENCE_SECONDS = 30.0
"""For a request that stops coming, or an answer that is not taken."""
SLOWEST = 8 * 1024
"""Bytes a second that a request must come with, once it has taken longer than that."""
QUIET_SECONDS = 0.5
"""Without a request, until a connection ends when the server stops."""
IDLE_SECONDS = 75.0
SWEEP_SECONDS = 5.0
LINGER_SECONDS = 1.0
LAST_WORD_SECONDS = 1.0
STOPPED = "the server stops"
"""What a call is cancelled with when the server cannot wait for it any longer."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REASONS = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
BODILESS = {204, 304}
_ASGI = {"version": "3.0", "spec_version": "2.3"}


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


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._reading: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._room: asyncio.Future[None] | None = None
        self._paused = self._deaf = self._crowded = self.full = self.lost = False
        self._seen = self._since = self._began = self._took = 0.0
        self._came = self._taken = self.sent = 0
        self._arriving = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._ends: tuple[Any, Any] = (None, None)

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._seen = self._since = self._took = self._loop.time()
        named = [transport.get_extra_info(name) for name in ("peername", "sockname")]
        client, server = [tuple(n[:2]) if isinstance(n, tuple) else None for n in named]
        self._ends = (client, server)
        self._server.connections.add(self)
        over = self._server.over
        self._crowded = over > 0
        if over > RESERVE:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for exchange in (self._current, self._reading, *self._queue):
            if exchange is not None:
                exchange.gone()
        self._queue.clear()
        self.resume_writing()
        self._server.connections.discard(self)
        self._server.settled()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._seen = self._loop.time()
        self._came += len(data)
        heading = self._reading is None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We speak nothing else: the request is served as it is, and the connection then ends.
            (self._reading or self._last()).keep = False
        except httptools.HttpParserError as exc:
            self._refuse(431 if self._size > HEAD_LIMIT else 400, exc)
            return
        if heading and self._reading is None and self._current is None:
            # A header that never ends is not told to `on_header`.
            self._size += len(data)
            if self._size > 2 * HEAD_LIMIT:
                self._refuse(431, None)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def room(self) -> None:
        """Wait while the client does not read what was written."""
        while self.full and not self.lost:
            self._room = self._loop.create_future()
            await self._room

    # What the parser tells

    def on_message_begin(self) -> None:
        self._url, self._headers, self._size = b"", [], 0
        self._arriving, self._began, self._came = True, self._seen, 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        self._headers.append((name.lower(), value))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_LIMIT:
            raise ValueError("too long")

    def on_headers_complete(self) -> None:
        parser = self._parser
        keep = parser.should_keep_alive() and not self._server.leaving
        exchange = Exchange(self, self._scope(), keep=keep)
        self._reading = exchange
        self._size = 0
        if self._current is None:
            self._begin(exchange)
        else:
            self._queue.append(exchange)
            if len(self._queue) >= AHEAD:
                self.pause()
            if len(self._queue) > QUEUE:
                self.abort()

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        self._arriving = False
        if self._reading is not None:
            self._reading.whole()
            self._reading = None

    def _scope(self) -> dict[str, Any]:
        url = self._url
        if not url.startswith(b"/"):  # the absolute form
            parts = httptools.parse_url(url)
            url = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        path, _, query = url.partition(b"?")
        text = path.decode("latin-1")
        client, server = self._ends
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self._parser.get_http_version(),
            "method": self._parser.get_method().decode("latin-1"),
            "scheme": "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": client,
            "server": server,
        }

    # What an exchange does

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        app = self._server.app
        if self._crowded:
            exchange.keep = False
            if exchange.path not in self._server.spared:
                app = self._server.crowded
        task = self._loop.create_task(exchange.run(app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.ended)

    def over(self, exchange: Exchange) -> None:
        """The answer is written: the next in line, or wait for one."""
        self._current = None
        self._seen = self._since = self._loop.time()
        if self._reading is exchange:
            # What is left of a body that was not read is no next request.
            self._linger()
        elif not exchange.keep:
            self.transport.close()
        elif self._queue:
            self._begin(self._queue.popleft())
        elif self._server.stopping:
            self.leave()
        if len(self._queue) < AHEAD:
            self.resume()

    def pause(self) -> None:
        """Stop reading: what came is not taken."""
        if not self._paused and not self.lost:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.lost:
            self._paused = False
            # It was not the client who let it wait.
            self._seen = self._began = self._loop.time()
            self._came = 0
            self.transport.resume_reading()

    def abort(self) -> None:
        self.transport.abort()

    def leave(self) -> None:
        """The server stops: a quiet connection ends now, another after its answer."""
        if self._current is not None or self.lost:
            return
        quiet = self._loop.time() - self._seen
        if quiet >= QUIET_SECONDS and not self._arriving:
            self.transport.close()
        else:
            # Its next request may be on the way; the answer will be the last.
            self._loop.call_later(max(QUIET_SECONDS - quiet, 0.1), self.leave)

    @property
    def leaving(self) -> bool:
        """Whether this answer is the connection's last."""
        return self._server.leaving

    def sweep(self, now: float) -> None:
        """End what has been silent or slow too long, but never for a call that takes its time."""
        waiting = self.transport.get_write_buffer_size()
        taken = self.sent - waiting
        if not waiting or taken != self._taken:
            self._taken, self._took = taken, now
        late = max(now - self._seen, now - self._began - self._came / SLOWEST)
        if now - self._took > SILENCE_SECONDS or (
            self._arriving and not self._paused and late > SILENCE_SECONDS
        ):
            self.abort()
        elif self._current is None and not self._arriving and now - self._since > IDLE_SECONDS:
            self.transport.close()

    def _linger(self) -> None:
        """Say no more, and let the client read that before what it still sends resets it."""
        self._deaf = True
        self.resume()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self.abort)

    def _last(self) -> Exchange:
        found = self._queue[-1] if self._queue else self._current
        assert found is not None
        return found

    def _refuse(self, status: int, exc: Exception | None) -> None:
        """Not HTTP/1.1: said at once when nothing else is being said, then the connection ends."""
        if self._current is None:
            self.transport.write(
                REASONS[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self._linger()
        else:
            self.abort()
        log.debug("refused a connection with %d: %s", status, exc)


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
