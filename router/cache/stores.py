"""Where answers are kept: in this process, and in a store that replicas share, if there is one."""

from __future__ import annotations

import msgspec

from router.core.gate import Clock
from router.core.task import Task

from .entry import Entry, unpack
from .memory import Memory
from .redis import Shared


class Found(msgspec.Struct, frozen=True):
    """A kept answer, and how many seconds ago it was made."""

    entry: Entry
    age: float


class Stores:
    """The memory first: what the shared store gave is kept there too."""

    def __init__(
        self,
        memory: Memory,
        shared: Shared | None,
        now: Clock,
        wall: Clock,
        where: bytes | None = None,
    ) -> None:
        """*where* tells one shared store from another, without its address."""
        self.memory, self.shared, self.where = memory, shared, where
        self._now, self._wall = now, wall

    def near(self, name: bytes, task: Task) -> Found | None:
        """What this process keeps under *name*."""
        kept = self.memory.get(name)
        if kept is None:
            return None
        entry = unpack(kept.blob, name, task)
        return None if entry is None else Found(entry, self._now() - kept.made)

    async def far(self, name: bytes, task: Task, seconds: float) -> Found | None:
        """What the shared store keeps under it, when that is less than *seconds* old."""
        if self.shared is None:
            return None
        blob = await self.shared.get(name)
        entry = None if blob is None else unpack(blob, name, task)
        if blob is None or entry is None:
            return None
        age = max(0.0, self._wall() - entry.made)
        if age >= seconds:
            return None
        self.memory.put(name, blob, seconds, age)
        return Found(entry, age)

    def keep(self, name: bytes, blob: bytes, seconds: float, *, inside: bool) -> None:
        """Keep *blob* until it is *seconds* old; *inside*: it must not leave this process."""
        self.memory.put(name, blob, seconds)
        if self.shared is not None and not inside:
            self.shared.put(name, blob, seconds)
