"""The thread that owns the store's connection: group commit, reconnection, what must not be lost.

Moves are taken from the queue all at once and run in one transaction; the more wait, the bigger
the batch. Nobody waits for a settlement, so it lingers a moment for company, unless a budget has no
room: then what was settled is written first, and the attempt is looked at again. An attempt's own
moves stay in their order, for nobody settles what is not yet reserved. When the store goes away:

* reserve and dispatch fail at once: nothing may be sent that is not written. Where the commit's
  own outcome is unknown, a release follows once the store is back: the caller sent nothing.
* all else waits in order, up to a limit, and is written when the store is back; each move can be
  repeated. What never gets written is left to the sweep of any replica: captured, not lost.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

import msgspec

from .record import Dispatch, Event, Move, Release, Reserve, StoreDown, Sweep
from .store import Refused, Store

log = logging.getLogger("isocost.ledger")
BATCH = 512
"""Moves per transaction at most."""
LINGER = 0.01
"""Seconds that a move which nobody waits for may wait for others."""
BACKOFF = (0.02, 1.0)
"""Seconds before the first and before any later try to reach the store again."""


class Job(msgspec.Struct, eq=False):
    """A move, and who waits for it."""

    move: Move | Sweep
    future: Any = None
    """Of asyncio; None: nobody waits."""
    since: float = 0.0
    result: Any = None


class Timing(msgspec.Struct, frozen=True):
    """Seconds between the things that are done unasked; 0: never."""

    poll: float = 0.5
    sweep: float = 5.0
    prune: float = 3600.0
    keep: float = 90 * 86400.0
    """What ended is forgotten after this long."""


class Writer(Thread):
    """Runs until `stop`. *finished* is called in this thread, once per batch."""

    def __init__(
        self,
        store: Store,
        prepare: Callable[[], None],
        *,
        finished: Callable[[list[Job], list[Event]], None],
        changed: Callable[[frozenset[str]], None],
        now: Callable[[], float],
        timing: Timing,
        backlog: int,
    ) -> None:
        super().__init__(name="ledger", daemon=True)
        self.queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self.up = False
        self.ready = Flag()
        """Set once the store was reached, or could not be."""
        self.busy = float("inf")
        """Since when (monotonic) the store has been asked; infinite while it is not."""
        self.turn, self.wants = Lock(), False
        """Whose turn it is with the store, and whether this thread waits for it."""
        self.version = 0
        """Goes up when keys or frozen prices changed in the store."""
        self._store, self._prepare = store, prepare
        self._finished, self._changed, self._now = finished, changed, now
        self._timing, self._limit = timing, backlog
        self._urgent: deque[Job] = deque()
        """Reserve and dispatch: a call waits for them."""
        self._later: deque[Job] = deque()
        self._flush_at = float("inf")
        self._stopping = False
        self._stop_by: float | None = None
        self._next = dict.fromkeys(("poll", "sweep", "prune"), 0.0)
        self._next["prune"] = time.monotonic() + timing.prune

    @property
    def owes(self) -> bool:
        """Moves were given to it that it has not written."""
        return bool(self._later or self._urgent) or not self.queue.empty()

    def stop(self, grace: float) -> None:
        """Write what is queued, for *grace* seconds at most, then end."""
        self._stop_by = time.monotonic() + grace
        self.queue.put(None)

    def run(self) -> None:
        delay = 0.0
        while not self._over():
            try:
                if not self.up:
                    self._rest(delay)
                    self._connect()
                    delay = 0.0
                self._once()
            except Exception as exc:  # noqa: BLE001 - the thread must outlive every error
                if self.up or not delay:
                    log.warning("the ledger cannot be reached: %s", _short(exc))
                self._went_down()
                delay = min(max(delay * 2, BACKOFF[0]), BACKOFF[1])
                self.ready.set()
        with self.turn:
            self.up = False
            self._store.driver.close()

    def _over(self) -> bool:
        if self._stop_by is None:
            return False
        drained = self._stopping and not self._later and not self._urgent
        return drained or time.monotonic() > self._stop_by

    def _rest(self, delay: float) -> None:
        """Wait before the next try, but refuse at once what cannot wait."""
        until = time.monotonic() + delay * (0.5 + random.random())  # noqa: S311 - no secret
        while (left := until - time.monotonic()) > 0 and not self._over():
            self._take(left)
            self._refuse()

    def _connect(self) -> None:
        self._prepare()
        with self.turn:
            self._store.driver.connect()
            self._poll()
        if not self.up:
            log.info("the ledger is reached")
        self.up = True
        self.ready.set()

    def _went_down(self) -> None:
        self.up, self.busy = False, float("inf")
        with self.turn:
            self._store.driver.close()
        self._take(0.0)
        self._refuse()

    def _refuse(self) -> None:
        """Fail what may not wait while the store is away; drop the oldest when too much waits."""
        failed = list(self._urgent)
        self._urgent.clear()
        over = max(0, len(self._later) - self._limit)
        failed += [self._later.popleft() for _ in range(over)]
        for job in failed:
            job.result = StoreDown("The ledger cannot be reached now; nothing was sent.")
        if failed:
            self._finished(failed, [_dropped(over)] if over else [])

    def _take(self, wait: float) -> None:
        """Sort what is queued; *wait* for the first of it."""
        queue = self.queue
        try:
            jobs = queue.get(timeout=wait) if wait > 0 else queue.get_nowait()
            while True:
                if jobs is None:
                    self._stopping = True
                else:
                    self._sort(jobs)
                jobs = queue.get_nowait()
        except Empty:
            pass

    def _sort(self, jobs: list[Job]) -> None:
        for job in jobs:
            if _is_urgent(job.move):
                self._urgent.append(job)
            else:
                self._later.append(job)
                due = 0.0 if job.future is not None else time.monotonic() + LINGER
                self._flush_at = min(self._flush_at, due)

    def _once(self) -> None:
        """Take what is there and run it, or do what is due unasked."""
        due = min(self._flush_at, *self._next.values())
        at_once = self._stopping or self._urgent
        self._take(0.0 if at_once else due - time.monotonic())
        self.wants = True
        with self.turn:
            self.wants = False
            self._turn()

    def _turn(self) -> None:
        self.busy = time.monotonic()
        if self._urgent:
            self._reserve(_some(self._urgent))
        many = len(self._later) >= BATCH
        if self._later and (many or self._stopping or self._flush_at <= time.monotonic()):
            self._flush()
        if not self._stopping:
            self._unasked()
        self._store.driver.tidy()
        self.busy = float("inf")

    def _reserve(self, jobs: list[Job]) -> None:
        try:
            try:
                events = self._run(jobs, unless_refused=bool(self._later))
            except Refused:
                while self._later:
                    self._flush()
                events = self._run(jobs)
        except Exception:
            undone = [job for job in jobs if job.result is None]
            self._urgent.extendleft(reversed(undone))
            # It may have been committed, and who asked will be told that it was not.
            for job in undone:
                self._later.append(Job(Release(_id(job.move), self._now(), unsent=True)))
            self._flush_at = 0.0
            self._finished([job for job in jobs if job.result is not None], [])
            raise
        self._finished(jobs, events)

    def _flush(self) -> None:
        jobs = _some(self._later)
        self._flush_at = 0.0 if self._later else float("inf")
        try:
            moves = [job for job in jobs if not isinstance(job.move, Sweep)]
            events = self._run(moves, durable=any(job.future is not None for job in jobs))
            for job in jobs:
                if isinstance(job.move, Sweep):
                    job.result, told = self._store.sweep(job.move.now)
                    events += told
        except Exception:
            # Written again, in their order, when the store is back: each can be repeated.
            self._later.extendleft(reversed([job for job in jobs if job.result is None]))
            self._finished([job for job in jobs if job.result is not None], [])
            self._flush_at = 0.0
            raise
        self._finished(jobs, events)

    def _run(
        self, jobs: list[Job], *, unless_refused: bool = False, durable: bool = True
    ) -> list[Event]:
        """Give each its result. Raises Refused, or what says that the store is away."""
        if not jobs:
            return []
        moves: list[Move] = [job.move for job in jobs]  # type: ignore[misc]
        try:
            results, events = self._store.run(moves, unless_refused=unless_refused, durable=durable)
        except Refused:
            raise
        except Exception as exc:
            if self._store.driver.away(exc):
                raise
            if len(jobs) == 1:
                log.exception("a move of the ledger failed")
                jobs[0].result = exc
                return []
            # One bad move must not fail its neighbours.
            return [event for job in jobs for event in self._run([job], durable=durable)]
        for job, result in zip(jobs, results, strict=True):
            job.result = result
        return events

    def _unasked(self) -> None:
        moment = time.monotonic()
        if self._next["poll"] <= moment:
            self._poll()
        if self._next["sweep"] <= moment:
            self._next["sweep"] = self._after(self._timing.sweep)
            if self._timing.sweep:
                swept, events = self._store.sweep(self._now())
                if swept or events:
                    self._finished([], events)
        if self._next["prune"] <= moment:
            self._next["prune"] = self._after(self._timing.prune)
            if self._timing.prune:
                self._store.prune(self._now() - self._timing.keep)

    def _poll(self) -> None:
        self._next["poll"] = self._after(self._timing.poll)
        version = self._store.version()
        if version != self.version:
            self._changed(self._store.frozen())
            self.version = version

    @staticmethod
    def _after(seconds: float) -> float:
        return time.monotonic() + (seconds or 86400.0)


def _is_urgent(move: Move | Sweep) -> bool:
    return isinstance(move, Dispatch) or (isinstance(move, Reserve) and not move.forced)


def _some(jobs: deque[Job]) -> list[Job]:
    return [jobs.popleft() for _ in range(min(BATCH, len(jobs)))]


def _id(move: Move | Sweep) -> str:
    assert isinstance(move, (Reserve, Dispatch))
    return move.ask.id if isinstance(move, Reserve) else move.id


def _short(exc: Exception) -> str:
    """The first line: drivers add the statement, and with it whatever was in it."""
    return f"{type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}"


def _dropped(count: int) -> Event:
    return Event(
        "dropped",
        f"{count} settlements were given up, for too many waited while the ledger was away: "
        "the sweep takes their bounds. Reconcile them with the vendor's bill.",
        amount=count,
    )
