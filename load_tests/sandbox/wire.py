"""The answering side of one exchange: write, wait while the client may leave, and break.

The head goes out with the first part of the body, in one write. An answer without content-length is
chunked.
"""

import asyncio
import os
import socket
import struct
from http import HTTPStatus

from load_tests.sandbox.http1 import Connection
from load_tests.sandbox.vendor import Headers

LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
NO_LINGER = struct.pack("ii", 1, 0)  # closing then sends RST


class Gone(Exception):
    """The client left before its answer was whole."""


class Wire:
    """Answers one request on its connection."""

    __slots__ = ("_chunked", "_connection", "_head")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._head = b""
        self._chunked = False

    async def pause(self, seconds: float | None) -> None:
        """Wait (None: without end). Raises Gone as soon as the client leaves."""
        lost = self._connection.lost
        if not lost.done():
            await asyncio.wait({lost}, timeout=seconds)
        if lost.done():
            raise Gone

    async def turn(self, turn: "asyncio.Future[None]") -> None:
        """Wait until it is this one's turn. Raises Gone as soon as the client leaves."""
        await asyncio.wait({self._connection.lost, turn}, return_when=asyncio.FIRST_COMPLETED)
        if self._connection.lost.done():
            raise Gone

    async def look(self) -> None:
        """Let others work and the client read. Raises Gone if it left."""
        await asyncio.sleep(0)
        await self._connection.room()
        if self._connection.lost.done():
            raise Gone

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Status and headers; they leave with the first `write`. No `length`: chunked."""
        line = LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        self._chunked = length is None
        framing = (
            b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
        )
        self._head = line + fields + framing + b"\r\n\r\n"

    def write(self, data: bytes) -> None:
        """Send a part of the body (or nothing but the head, when `data` is empty)."""
        if data and self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._connection.transport.write(self._head + data)
        self._head = b""

    def end(self) -> None:
        """The body is whole."""
        if self._chunked:
            self._connection.transport.write(self._head + b"0\r\n\r\n")

    def sever(self, *, reset: bool) -> None:
        """Close the connection under the answer: with RST, or with FIN after what was written."""
        transport = self._connection.transport
        if not reset:
            transport.close()
            return
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        transport.abort()
