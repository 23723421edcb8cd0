"""Reading a request's body: bounded by itself and by all bodies under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from router.core.errors import Shed, TooLarge
from router.runtime import Bodies

DRAIN = 4
"""A body up to so many times the limit is read to its end and dropped: most clients look for an
answer only after they have sent everything."""


class Gone(Exception):
    """The client left before its body was read."""


class Held:
    """The bytes of one call's body among those of all calls under way."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._size = bodies, 0

    def take(self, size: int) -> None:
        """Hold *size* bytes more. Raises Shed when that is more than this process may hold."""
        bodies = self._bodies
        if bodies.held + size > bodies.limit:
            raise Shed(
                "The bodies of the calls under way fill the memory that this router has for them "
                f"({bodies.limit} bytes).",
                retry_after=1.0,
            )
        bodies.held += size
        self._size += size

    def free(self) -> None:
        self._bodies.held -= self._size
        self._size = 0


def _uncounted(size: int) -> None:
    pass


async def read_body(
    receive: Any,
    headers: Mapping[bytes, bytes],
    limit: int,
    take: Callable[[int], None] = _uncounted,
) -> bytes:
    """The whole body, of at most *limit* bytes, each part told to *take*. Raises TooLarge, Gone."""
    said = headers.get(b"content-length", b"0")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            take(len(part))
            parts.append(part)
        over = size > limit and (size > DRAIN * limit or not message.get("more_body"))
        if over or (said.isdigit() and int(said) > DRAIN * limit):
            raise TooLarge(f"The body is too long: at most {limit} bytes are taken.")
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
