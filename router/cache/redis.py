"""The store that replicas share: Redis or Valkey. No call fails or waits long because of it.

    get   waits `timeout` at most; away, slow or broken: nothing is found
    put   is written beside the calls, PENDING at once; more are dropped
    away  after any failure nobody asks for FIRST seconds, doubled at each failure up to LONGEST,
          with jitter; then one call tries, and the others go on without

So while it is away one call in such a while waits for `timeout`, and no other.
Source of the jitter: M. Brooker, "Exponential Backoff And Jitter", AWS 2015.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from router.core.gate import Clock

log = logging.getLogger("isocost")
PREFIX = "isocost:answer:"
FIRST, LONGEST = 1.0, 30.0
"""Seconds."""
PENDING = 64
LARGEST = 1024 * 1024
"""Bytes of the largest answer that is shared: larger ones would not pass within the timeout."""
CONNECTIONS = 32
SCHEMES = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://")


class Client(Protocol):
    """What is used of a Redis client."""

    def get(self, name: str, /) -> Awaitable[Any]: ...

    def set(self, name: str, value: bytes, /, *, px: int) -> Awaitable[Any]: ...

    async def aclose(self) -> None: ...


def connect(url: str, timeout: float) -> Client:
    """A client of the store at *url*, not yet connected. Raises ValueError, without the URL."""
    if not url.startswith(SCHEMES):
        raise ValueError("the address must be redis://, rediss://, unix:// or valkey://")
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - redis is an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError:
        raise ValueError("a cache in Redis needs `pip install isocost[redis]`") from None
    try:
        client: Client = Redis.from_url(
            "redis" + url.removeprefix("valkey") if url.startswith("valkey") else url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # trying again is decided here
            max_connections=CONNECTIONS,
            protocol=2,  # known to every version, and to Valkey
        )
    except Exception:  # noqa: BLE001 - whatever it says may hold the password
        raise ValueError("the address cannot be read") from None
    return client


class Shared:
    """Answers under their names; all failures end here."""

    def __init__(self, client: Client, timeout: float, now: Clock) -> None:
        """*timeout* in seconds."""
        self._client, self._timeout, self._now = client, timeout, now
        self._pause, self._away_until = 0.0, float("-inf")
        self._trying = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: dict[str, int] = {}

    @property
    def up(self) -> bool:
        """Whether it did what was asked last."""
        return not self._pause

    async def get(self, name: bytes) -> bytes | None:
        """The answer of this name, if it is there in time."""
        found: bytes | None = await self._do("get", lambda: self._client.get(_named(name)))
        return found

    def put(self, name: bytes, blob: bytes, seconds: float) -> None:
        """Keep *blob* for so long. Never waits, never raises."""
        if len(blob) > LARGEST or not self._open():
            return
        if len(self._tasks) >= PENDING:
            self._count("dropped")
            return
        task = asyncio.create_task(self._write(name, blob, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Finish what is being written, then disconnect."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(1.0):
                await self._client.aclose()
        except Exception:  # noqa: BLE001 - it may be away, and we are leaving
            log.debug("the shared cache was away when it was closed")

    async def _write(self, name: bytes, blob: bytes, seconds: float) -> None:
        px = max(1, int(seconds * 1000))
        await self._do("set", lambda: self._client.set(_named(name), blob, px=px))

    def told(self) -> dict[str, int]:
        """Failures since this was asked last: of `get`, of `set`, and answers `dropped`."""
        told, self._told = self._told, {}
        return told

    def _count(self, kind: str) -> None:
        self._told[kind] = self._told.get(kind, 0) + 1

    def _open(self) -> bool:
        return not self._pause or (not self._trying and self._now() >= self._away_until)

    async def _do(self, kind: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        if not self._open():
            return None
        trying = bool(self._pause)
        self._trying = self._trying or trying
        try:
            async with asyncio.timeout(self._timeout):
                found = await ask()
        except Exception as exc:  # noqa: BLE001 - a library's bug must not fail a call either
            self._failed(kind, exc)
            return None
        finally:
            if trying:
                self._trying = False
        if self._pause:
            self._pause = 0.0
            log.info("cache: the shared store is back")
        return found

    def _failed(self, kind: str, exc: Exception) -> None:
        self._count(kind)
        if not self._pause:  # its name only: its text may hold an address
            log.warning("cache: the shared store is away (%s)", type(exc).__name__)
        if self._now() >= self._away_until:  # those who asked together fail as one
            self._pause = min(LONGEST, 2 * self._pause or FIRST)
            self._away_until = self._now() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311


def _named(name: bytes) -> str:
    return PREFIX + name.hex()
