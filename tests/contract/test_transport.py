"""The limits of one attempt over real sockets: connecting, the first event, silence, the deadline."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from router import apis
from router.core import verdict as v
from router.core.api import Endpoint
from router.core.errors import AttemptFailed, BrokenStream
from router.http1.pool import Pool
from router.transport import http
from tests.fakes import a_call

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def vendor(play: Play) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads a request and then plays; its base URL and the heads that came."""
    heads: list[bytes] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await play(reader, writer)
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1", heads
    finally:
        server.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def one_event(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + piece(EVENT))
    await reader.read()


def sender(base: str, pool: Pool, **limits: Any) -> Any:
    endpoint = Endpoint("paid", base, "m", apis.load("openai"), lambda: "", **limits)
    return http(endpoint, pool=pool, now=time.monotonic)


def call_for(seconds: float, **changes: Any) -> Any:
    return a_call(deadline=time.monotonic() + seconds, stream=True, **changes)


async def failing(play: Play, call: Any, **limits: Any) -> AttemptFailed:
    pool = Pool()
    async with vendor(play) as (base, _):
        with pytest.raises(AttemptFailed) as caught:
            await sender(base, pool, **limits)(call)
    await pool.close()
    return caught.value


async def test_a_silent_backend_is_left_before_the_deadline():
    """No first event within its limit is LOST, long before the caller's time is over."""
    began = time.monotonic()
    failed = await failing(silent, call_for(60.0), first_event=0.2)
    assert failed.verdict is v.LOST
    assert time.monotonic() - began < 30.0


@pytest.mark.parametrize(("hurried", "verdict"), [(True, v.LATE), (False, v.LOST)])
async def test_a_hurried_caller_blames_nobody(hurried, verdict):
    """A deadline shorter than the route's own says nothing of the backend's health."""
    failed = await failing(silent, call_for(0.2, hurried=hurried))
    assert failed.verdict is verdict


async def test_an_attempt_ends_in_time_for_the_next():
    """What dispatch allows one attempt is kept, though the deadline is far."""
    failed = await failing(silent, call_for(60.0, answer_by=time.monotonic() + 0.2))
    assert failed.verdict is v.LOST


async def test_nothing_is_charged_for_a_connection_that_never_was():
    """Connecting has a limit of its own, within what is left; nothing was sent, so nothing is owed."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    base = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
    # The queue of a listener that never accepts: once it is full nobody gets an answer.
    fillers = [socket.socket() for _ in range(8)]
    for filler in fillers:
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(full.getsockname())
    await asyncio.sleep(0.1)
    pool = Pool()
    try:
        for call, limit, verdict in (
            (call_for(60.0), 0.2, v.FAULT),
            (call_for(0.2), 5.0, v.FAULT),
            (call_for(0.2, hurried=True), 5.0, v.REJECTED),
        ):
            with pytest.raises(AttemptFailed, match="cannot connect") as caught:
                await sender(base, pool, connect=limit)(call)
            assert caught.value.verdict is verdict
            assert verdict.charge == "nothing"
    finally:
        for opened in (*fillers, full):
            opened.close()
        await pool.close()


async def ending(play: Play, call: Any, **limits: Any) -> tuple[list[Any], BrokenStream]:
    pool, got = Pool(), []
    async with vendor(play) as (base, _):
        reply = await sender(base, pool, **limits)(call)

        async def read() -> None:
            async for event in reply.events:
                got.append(event)

        with pytest.raises(BrokenStream) as caught:
            await read()
        reply.close(caught.value.verdict)
    await pool.close()
    return got, caught.value


async def test_silence_in_a_stream_breaks_it():
    """Longer silence than allowed between two pieces is a broken stream, which says how long."""
    got, broken = await ending(one_event, call_for(60.0), idle=0.2)
    assert got
    assert broken.verdict is v.LOST
    assert "nothing came for 0.2 s" in str(broken)


@pytest.mark.parametrize(("hurried", "verdict"), [(True, v.LATE), (False, v.LOST)])
async def test_a_deadline_in_a_stream(hurried, verdict):
    """The deadline ends a stream too; a hurried caller's blames nobody."""
    got, broken = await ending(one_event, call_for(0.3, hurried=hurried), idle=30.0)
    assert got
    assert broken.verdict is verdict
    assert "deadline" in str(broken)


async def test_a_slow_reader_is_not_a_silent_backend():
    """While the client takes its time, nobody counts that against the backend."""

    async def two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + piece(EVENT))
        await asyncio.sleep(0.1)
        writer.write(piece(EVENT) + piece(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await reader.read()

    pool, got = Pool(), 0
    async with vendor(two) as (base, _):
        reply = await sender(base, pool, idle=1.5)(call_for(60.0))
        async for _ in reply.events:
            got += 1
            await asyncio.sleep(2.0 if got == 1 else 0)
        reply.close()
    await pool.close()
    assert got >= 2


async def test_backends_are_told_the_deadline():
    """Each request says how many milliseconds are left."""
    pool = Pool()
    async with vendor(silent) as (base, heads):
        with suppress(AttemptFailed):
            await sender(base, pool, first_event=0.1)(call_for(20.0))
    await pool.close()
    told = next(line for line in heads[0].split(b"\r\n") if b"deadline" in line)
    name, _, value = told.partition(b": ")
    assert name == b"x-isocost-deadline-ms"
    assert 15_000 < int(value) <= 20_000


async def test_an_endless_refusal_is_read_in_part():
    """Of an error that never ends only a bounded part is read; the verdict is the status's."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(piece(b"x" * 65536))
            await writer.drain()

    failed = await failing(endless, call_for(60.0))
    assert failed.verdict is v.FAULT
