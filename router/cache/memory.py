"""The store of one process: the answers used last, bounded in bytes and in time.

    put    makes room first: what is over goes, then what was used longest ago
    get    an answer that is over is not there

The sum of all answers with their names and OVERHEAD never exceeds the limit, at no moment. An
answer larger than an eighth of the limit is not kept: one must not drive out all others.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush

import msgspec

from router.core.gate import Clock

OVERHEAD = 512
"""Bytes that keeping an answer takes beside it: objects, places in the table and the heap."""
PART = 8


class Kept(msgspec.Struct, frozen=True):
    """An answer as it lies here; times are those of the clock."""

    blob: bytes
    made: float
    ends: float


class Memory:
    """Name -> answer."""

    def __init__(self, limit: int, now: Clock) -> None:
        """*limit* in bytes."""
        self._limit, self._now = limit, now
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._ends: list[tuple[float, bytes]] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def largest(self) -> int:
        """Bytes of the largest answer that is taken."""
        return self._limit // PART

    def resize(self, limit: int) -> None:
        self._limit = limit
        self._shrink(0)

    def get(self, name: bytes) -> Kept | None:
        """The answer of this name, which is now the one used last."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept.ends <= self._now():
            self._drop(name)
            return None
        self._kept.move_to_end(name)
        return kept

    def put(self, name: bytes, blob: bytes, seconds: float, age: float = 0.0) -> bool:
        """Keep *blob*, made *age* seconds ago, until it is *seconds* old; whether it is kept."""
        self._drop(name)
        size, now = _size(name, blob), self._now()
        if len(blob) > self.largest or size > self._limit or age >= seconds:
            return False
        self.sweep()
        self._shrink(size)
        ends = now - age + seconds
        self._kept[name] = Kept(blob, now - age, ends)
        heappush(self._ends, (ends, name))
        self.bytes += size
        return True

    def sweep(self) -> None:
        """Let go of what is over."""
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            _, name = heappop(self._ends)
            kept = self._kept.get(name)
            if kept is not None and kept.ends <= now:
                self._drop(name)
        if len(self._ends) > 2 * len(self._kept) + 64:  # mostly of answers that went before
            self._ends = [(kept.ends, name) for name, kept in self._kept.items()]
            heapify(self._ends)

    def _shrink(self, more: int) -> None:
        while self._kept and self.bytes + more > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: bytes) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.bytes -= _size(name, kept.blob)


def _size(name: bytes, blob: bytes) -> int:
    return len(name) + len(blob) + OVERHEAD
