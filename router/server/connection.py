"""One connection: parsing, the order of its requests, when it is read and when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from router.server.bounds import (
    AHEAD,
    HEAD_LIMIT,
    IDLE_SECONDS,
    LINGER_SECONDS,
    QUEUE,
    QUIET_SECONDS,
    RESERVE,
    SILENCE_SECONDS,
    SLOWEST,
)
from router.server.exchange import REASONS, Exchange

if TYPE_CHECKING:
    from router.server.listener import Server


log = logging.getLogger("isocost")
_ASGI = {"version": "3.0", "spec_version": "2.3"}


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
