"""The two ends of a connection through the front: the caller's, and the one to TorchServe."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Container, MutableSet
from http import HTTPStatus
from typing import Any, Protocol

import httptools

from serving.supervisor.inbound import Refused, Requests

TOKEN_SECONDS = 20.0  # from connecting to the first request with the right token


class House(Protocol):
    """What an end asks of the front."""

    key: str
    draining: bool


Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]]


class Caller(asyncio.Protocol):
    """The connection from outside; `open` is the number of its requests without a whole answer."""

    def __init__(
        self, house: House, callers: MutableSet["Caller"], tokens: Container[str], dial: Dial
    ) -> None:
        """`callers` holds it while it is connected; `dial` connects to TorchServe."""
        self.house, self._callers, self._dial = house, callers, dial
        self._requests = Requests(tokens, lambda: house.key)
        self._inner: _Inner | None = None
        self._waiting = bytearray()  # until TorchServe is connected
        self._dialling: asyncio.Task[None] | None = None
        self.answered = 0

    @property
    def open(self) -> int:
        """Requests passed on and not answered in full."""
        return self._requests.begun - self.answered

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._callers.add(self)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(TOKEN_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        try:
            passed = self._requests.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        if self._requests.begun:
            self._deadline.cancel()
        if self._inner is not None:
            self._inner.transport.write(passed)
        elif passed:
            self._waiting += passed
            if self._dialling is None:
                self.transport.pause_reading()
                self._dialling = asyncio.get_running_loop().create_task(self._connect())

    def connected(self, inner: "_Inner") -> None:
        """TorchServe took the connection: send what has come so far."""
        self._inner = inner
        if self.transport.is_closing():
            inner.transport.abort()
            return
        inner.transport.write(bytes(self._waiting))
        self._waiting.clear()
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._callers.discard(self)
        self._deadline.cancel()
        if self._inner is not None:
            self._inner.transport.abort()

    def cut(self) -> None:
        """End it now; in the middle of an answer that is seen as a broken one."""
        if self.open:
            self.transport.abort()
        else:
            self.transport.close()

    async def _connect(self) -> None:
        try:
            await self._dial(lambda: _Inner(self))
        except OSError:
            self._refuse(Refused(503, "ServiceUnavailableException", "TorchServe is not up"))

    def _refuse(self, refused: Refused) -> None:
        if self.open and self._inner is not None:  # an answer is being written: no room for another
            self.transport.abort()
            return
        self.transport.write(refusal(refused.status, refused.kind, str(refused)))
        self.transport.close()


class _Inner(asyncio.Protocol):
    """The connection to TorchServe: counts answers, passes bytes."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._parser = httptools.HttpResponseParser(self)
        self._begun = False  # whether an answer has begun and not ended

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._caller.connected(self)

    def data_received(self, data: bytes) -> None:
        caller = self._caller
        last = caller.house.draining and not self._begun
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            caller.transport.abort()
            return
        if caller.open < 0:  # an answer that nobody asked for would be taken for the next one's
            caller.transport.abort()
            return
        if last:
            line, found, rest = data.partition(b"\r\n")
            data = line + b"\r\nConnection: close\r\n" + rest if found else data
        caller.transport.write(data)
        if caller.house.draining and not caller.open:
            caller.transport.close()

    def on_message_begin(self) -> None:
        self._begun = True

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= HTTPStatus.OK:
            self._caller.answered += 1
            self._begun = False

    def pause_writing(self) -> None:
        self._caller.transport.pause_reading()

    def resume_writing(self) -> None:
        self._caller.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._caller.open:
            self._caller.transport.abort()  # a broken answer must not look like a whole one
        else:
            self._caller.transport.close()


def refusal(status: int, kind: str, reason: str) -> bytes:
    """An answer as TorchServe would write it, after which the connection is closed."""
    body = json.dumps({"code": status, "type": kind, "message": reason}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
