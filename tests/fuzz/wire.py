"""A backend's answer as bytes of HTTP, read by `router/http1/` in pieces of any size.

However it is cut, the same status and body come of it, or none; nothing is raised but Broken, the
connection is kept only after one answer and nothing else, and what is held stays bounded.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, NamedTuple

from router.http1.connection import BODY_LIMIT, HEADERS_LIMIT, Connection
from router.http1.origin import Broken, Origin
from router.http1.pool import Pool

ORIGIN = Origin.of("http://127.0.0.1:9")


class Line:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.ended = False

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    def abort(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        """It is told what is there all the same."""

    resume_reading = pause_reading


class Read(NamedTuple):
    """What came of it: None for the status of a broken answer."""

    status: int | None
    body: bytes
    kept: bool


async def _read(pieces: list[bytes]) -> Read:
    line: Any = Line()
    connection = Connection(ORIGIN, Pool())
    connection.connection_made(line)
    task = asyncio.create_task(connection.ask(b"GET / HTTP/1.1\r\n\r\n", whole=True))
    await asyncio.sleep(0)
    for piece in pieces:
        if not line.ended:
            connection.data_received(piece)
    kept = connection.reusable and not line.ended
    connection.connection_lost(None)
    try:
        await task
    except Broken as exc:
        assert str(exc)  # noqa: PT017 - no raise is owed
        return Read(None, b"", kept=False)
    body = connection.taken()
    assert len(body) <= BODY_LIMIT
    assert sum(map(len, connection.headers)) <= HEADERS_LIMIT
    return Read(connection.status, body, kept)


async def read_answer(data: bytes, cuts: list[int]) -> Read:
    """Raises AssertionError where the cuts change what is read."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    at_once = await _read([data] if data else [])
    in_pieces = await _read([data[a:b] for a, b in pairwise(places) if a < b])
    assert in_pieces == at_once, (in_pieces, at_once)
    return at_once
