"""One HTTP exchange over ASGI: read, write, wait while a client may leave, and break.

ASGI has no word for a reset or for a stream that ends half-way, so `sever` goes to the socket of
this connection, found among the process's own descriptors by the client's address (Linux, macOS).
"""

import asyncio
import ctypes
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from load_tests.sandbox.vendor import Headers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
NO_ADDRESS = bytes(16)  # struct sockaddr of family AF_UNSPEC
FLUSH = 0.01  # seconds that the server gets to write what it was given before the line is cut


class Gone(Exception):
    """The client left before its answer was whole."""


class Wire:
    """Both directions of one exchange."""

    __slots__ = ("_client", "_receive", "_send", "_watch")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._client = scope["client"]
        self._receive, self._send = receive, send
        self._watch: asyncio.Future[Message] | None = None

    async def read(self) -> bytes:
        """The whole request body. Raises Gone."""
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await self._receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise Gone
        return body

    async def pause(self, seconds: float | None) -> None:
        """Wait (None: without end). Raises Gone as soon as the client leaves."""
        watch = self._watching()
        await asyncio.wait({watch}, timeout=seconds)
        if watch.done():
            raise Gone

    async def look(self) -> None:
        """Let the server work, and raise Gone if the client left."""
        watch = self._watching()
        await asyncio.sleep(0)
        if watch.done():
            raise Gone

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status and the headers."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = False) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def sever(self, *, reset: bool) -> None:
        """Close the connection under the answer: with RST, or with FIN after what was written."""
        await asyncio.sleep(0 if reset else FLUSH)
        here = (str(self._client[0]), int(self._client[1]))
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 - a few names, in memory
            _close_if_peer(int(name), here, reset=reset)

    def done(self) -> None:
        """Stop watching; the exchange is over."""
        if self._watch is not None:
            self._watch.cancel()

    def _watching(self) -> asyncio.Future[Message]:
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._receive())
        return self._watch


def _close_if_peer(descriptor: int, peer: tuple[str, int], *, reset: bool) -> None:
    try:
        copy = os.dup(descriptor)
    except OSError:
        return
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return
    with connection:
        try:
            if connection.getpeername()[:2] == peer:
                _close(connection, reset=reset)
        except (OSError, TypeError):
            return


def _close(connection: socket.socket, *, reset: bool) -> None:
    # connect() to "no address" makes Linux send RST at once; the server's own close would come
    # after a FIN. Elsewhere the client sees a plain end.
    if reset and ctypes.CDLL(None).connect(connection.fileno(), NO_ADDRESS, len(NO_ADDRESS)) == 0:
        return
    connection.shutdown(socket.SHUT_RDWR)
