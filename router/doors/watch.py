"""A client that leaves cancels its call, whether or not anything is read from it."""

from __future__ import annotations

import asyncio
from typing import Any

WATCH_AFTER = 0.02
"""Seconds until a whole answer's client is watched: quick answers need no watcher."""


class Watch:
    """Cancels the current task when the client leaves. Started late, it costs a timer only."""

    __slots__ = ("_handle", "_receive", "_watcher", "gone")

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._handle: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    def start(self, after: float) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._handle = loop.call_later(after, self._begin, task)

    def _begin(self, task: asyncio.Task[Any]) -> None:
        self._watcher = asyncio.create_task(self._look(task))

    async def _look(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()

    def limit(self, until: float) -> asyncio.TimerHandle:
        """Cancels the current task at *until*: its connection is then cut."""
        task = asyncio.current_task()
        assert task is not None
        return asyncio.get_running_loop().call_at(until, task.cancel)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
