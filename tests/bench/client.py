"""The load: a fixed number of calls in flight; a caller's next call follows its last answer.

The client runs in the benchmark's own process, on a core of its own where there are two. Its CPU
is told beside the figures and is part of none of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pyreqwest.client import Client, ClientBuilder

SILENCE = 120.0
"""Seconds that a call may take before the benchmark is given up."""


@dataclass(frozen=True)
class Target:
    """Where calls go, and with which headers."""

    name: str
    url: str
    headers: dict[str, str]


@dataclass
class Load:
    """What a number of calls took, in seconds."""

    calls: int
    elapsed: float = 0.0
    client_cpu: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Of each call."""
    first: list[float] = field(default_factory=list)
    """To the first piece of each stream."""
    events: int = 0
    """Pieces of all streams, as the counting function says."""
    answers: list[bytes] = field(default_factory=list)


def client() -> Client:
    """Keep-alive connections, one per call in flight."""
    return (
        ClientBuilder()
        .max_connections(256)
        .tcp_nodelay(enabled=True)
        .http1_only()
        .no_proxy()
        .timeout(timedelta(seconds=SILENCE))
        .build()
    )


Body = Callable[[int], bytes]
"""The body of the n-th call."""


async def calls(pool: Client, target: Target, body: Body, *, total: int, in_flight: int) -> Load:
    """Whole answers. Raises RuntimeError at the first that is not 200."""

    async def one(number: int, load: Load) -> None:
        began = time.perf_counter()
        response = await _request(pool, target, body(number)).build().send()
        answer = bytes(await response.bytes())
        load.seconds.append(time.perf_counter() - began)
        if response.status != 200:
            raise RuntimeError(f"{response.status} {answer[:300]!r}")
        load.answers.append(answer)

    return await _drive(target.name, one, total, in_flight)


async def streams(
    pool: Client,
    target: Target,
    body: Body,
    *,
    total: int,
    in_flight: int,
    mark: bytes = b"data: ",
) -> Load:
    """Streamed answers; an event is an occurrence of *mark*."""

    async def one(number: int, load: Load) -> None:
        began, pieces = time.perf_counter(), []
        # Without this the library keeps 64 KiB back before it hands out the first piece.
        asked = _request(pool, target, body(number)).streamed_read_buffer_limit(0)
        async with asked.build_streamed() as response:
            while (piece := await response.body_reader.read_chunk()) is not None:
                if not pieces:
                    load.first.append(time.perf_counter() - began)
                pieces.append(bytes(piece))
        load.seconds.append(time.perf_counter() - began)
        answer = b"".join(pieces)
        if response.status != 200:
            raise RuntimeError(f"{response.status} {answer[:300]!r}")
        load.events += answer.count(mark)

    return await _drive(target.name, one, total, in_flight)


def _request(pool: Client, target: Target, body: bytes) -> Any:
    request = pool.post(target.url).body_bytes(body).header("content-type", "application/json")
    for name, value in target.headers.items():
        request = request.header(name, value)
    return request


async def _drive(
    name: str, one: Callable[[int, Load], Awaitable[None]], total: int, in_flight: int
) -> Load:
    load = Load(total)
    numbers: Iterator[int] = iter(range(total))

    async def caller() -> None:
        for number in numbers:
            await one(number, load)

    cpu, began = time.process_time(), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, total)):
                group.create_task(caller())
    except ExceptionGroup as exc:
        raise RuntimeError(f"{name}: {exc.exceptions[0]}") from exc
    load.elapsed = time.perf_counter() - began
    load.client_cpu = time.process_time() - cpu
    return load
