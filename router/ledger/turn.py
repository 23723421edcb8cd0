"""Reserve, dispatch and settle in the loop's own thread: who waits, waits for a transaction alone.

On SQLite that takes some 0.1 ms and, with `synchronous=NORMAL`, never waits for the disk. The way
to the writer's thread and back takes longer, and both threads then take turns with the interpreter.
So what is reserved in one turn of the loop is written at its end, as one transaction.

The loop waits for nobody. Where the writer's thread uses the store, another process writes to it,
the rows of a window have to be made, or settlements must be written first, nothing is done here and
the thread does it as ever. What the thread was given stays before what comes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .record import Event, Move
from .store import Busy, Refused, Store
from .writer import Job, Writer

MOST = 64
"""Moves in one turn: the loop has others to serve."""


class Turn:
    """Takes jobs that a call waits for; used in the loop only."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        finished: Callable[[list[Job], list[Event]], None],
        failed: Callable[[list[Job]], None],
        hand: Callable[[list[Job]], None],
    ) -> None:
        """*failed*: the store is away, and what became of them unknown; *hand*: to the writer."""
        self._store, self._writer = store, writer
        self._finished, self._failed, self._hand = finished, failed, hand
        self._jobs: list[Job] = []
        self._loop = asyncio.get_running_loop()

    def take(self, job: Job) -> None:
        """Run *job* at the end of this turn, with all that comes until then."""
        if not self._jobs:
            self._loop.call_soon(self.run)
        self._jobs.append(job)

    def run(self) -> None:
        jobs, self._jobs = self._jobs[:MOST], self._jobs[MOST:]
        if self._jobs:
            self._loop.call_soon(self.run)
        # Who asked may have gone: then nothing was held yet.
        asked = [job for job in jobs if not job.future.done()]
        if asked and not self._done(asked):
            self._hand(asked)

    def settle(self, jobs: list[Job]) -> None:
        """Write *jobs*, that nobody waits for, unless others are to be written before them."""
        if len(jobs) > MOST or self._writer.owes or not self._done(jobs, awaited=False):
            self._hand(jobs)

    def _done(self, jobs: list[Job], *, awaited: bool = True) -> bool:
        """Whether that is the end of it; else nothing was done."""
        writer, store = self._writer, self._store
        if writer.wants or not writer.turn.acquire(blocking=False):
            return False
        try:
            moves: list[Move] = [job.move for job in jobs]  # type: ignore[misc]
            if not writer.up or not store.known(moves):
                return False
            results, events = store.run(moves, unless_refused=True, wait=False)
        except (Busy, Refused):
            return False
        except Exception as exc:  # noqa: BLE001 - the writer looks at each of a bad batch alone
            if not awaited or not store.driver.away(exc):
                return False
            self._failed(jobs)
            return True
        finally:
            writer.turn.release()
        for job, result in zip(jobs, results, strict=True):
            job.result = result
        self._finished(jobs, events)
        return True
