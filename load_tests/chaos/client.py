"""One call over a connection of its own: what came back, when, and how it ended.

The client judges nothing and repeats nothing. `ended` says how the bytes ended: `whole` (as HTTP
says an answer ends), `cut` (the connection went before that), `late` (we gave up waiting).
"""

import asyncio
import time
from typing import Literal

from msgspec import Struct, field

HOST = "127.0.0.1"
End = Literal["whole", "cut", "late"]


class Ask(Struct, frozen=True):
    """A request; `deadline` is what the router is told, in seconds."""

    path: str
    headers: dict[str, str]
    body: bytes
    deadline: float

    def written(self, call: str) -> bytes:
        """The bytes of it, as call *call*."""
        fields = {
            "host": "chaos",
            "content-type": "application/json",
            "content-length": str(len(self.body)),
            "x-request-id": call,
            "x-isocost-deadline-ms": f"{self.deadline * 1000:.0f}",
        } | self.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


class Got(Struct):
    """What came back; seconds since the request was sent. No status: nothing came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: End = "cut"
    first: float | None = None
    seconds: float = 0.0

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


async def call(port: int, ask: Ask, name: str, patience: float) -> Got:
    """Send it and read the answer, for at most *patience* seconds."""
    got = Got()
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            await _exchange(port, ask.written(name), got, began)
    except TimeoutError:
        got.end = "late"
    except (OSError, EOFError, ValueError):
        got.end = "cut"
    got.seconds = time.monotonic() - began
    return got


async def _exchange(port: int, request: bytes, got: Got, began: float) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        got.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(":")
            if name:
                got.headers[name.lower()] = value.strip()
        if got.header("transfer-encoding") == "chunked":
            await _chunks(reader, got, began)
        else:
            got.body = await reader.readexactly(int(got.header("content-length") or 0))
            got.first = time.monotonic() - began
        got.end = "whole"
    finally:
        writer.close()


async def _chunks(reader: asyncio.StreamReader, got: Got, began: float) -> None:
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        data = await reader.readexactly(size + 2)
        if not size:
            return
        if got.first is None:
            got.first = time.monotonic() - began
        got.body += data[:-2]
