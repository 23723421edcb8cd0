"""One thread that gives each live job a turn: long work shares an engine with short work.

A job is work in steps: a sentence to speak, half a minute to transcribe. `step` takes some jobs and
does the next step of each, together where the engine gains by it; it puts what came of it, and ends
those that are done. A job that nobody waits for any more is dropped between two steps.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from serving.worker.engine import Watch

logger = logging.getLogger(__name__)


class Job:
    """Work under way for one request; thread-safe. `state` belongs to whoever steps."""

    def __init__(self, state: Any, watch: Watch) -> None:
        """`watch` is shared with the handler that waits."""
        self.state = state
        self.fault: str | None = None
        self._watch = watch
        self._pieces: list[Any] = []
        self._done = False
        self._cancelled = False

    def put(self, piece: Any) -> None:
        """Engine: something to hand on."""
        with self._watch.changed:
            self._pieces.append(piece)
            self._watch.changed.notify_all()

    def end(self, fault: str | None = None) -> None:
        """Engine: all is done, or `fault` says why it never will be; the first call counts."""
        with self._watch.changed:
            if not self._done:
                self._done, self.fault = True, fault
            self._watch.changed.notify_all()

    def take(self) -> list[Any]:
        """Handler: the pieces since the last call."""
        with self._watch.changed:
            pieces, self._pieces = self._pieces, []
            return pieces

    def cancel(self) -> None:
        """Handler: nobody wants more."""
        self._cancelled = True

    @property
    def waiting(self) -> bool:
        """Whether there are pieces to take."""
        return bool(self._pieces)

    @property
    def over(self) -> bool:
        """Whether no more pieces will come."""
        return self._done

    @property
    def wanted(self) -> bool:
        """Whether the engine should go on with it."""
        return not self._cancelled and not self._done and self._watch.alive


class Rounds:
    """The thread; `most` jobs share one step."""

    def __init__(self, step: Callable[[Sequence[Job]], None], most: int) -> None:
        """Start it."""
        self._step, self._most = step, most
        self._jobs: deque[Job] = deque()
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="rounds", daemon=True)
        self._thread.start()

    def start(self, runs: Sequence[Job]) -> None:
        """Begin these jobs, beside those under way; returns at once."""
        with self._news:
            self._jobs.extend(runs)
            self._news.notify_all()

    def close(self) -> None:
        """Stop after the step under way."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while turn := self._next():
            self._try(turn)
            with self._news:
                self._jobs.extend(turn)  # behind those that waited

    def _next(self) -> list[Job]:
        with self._news:
            while not self._closed:
                self._jobs = deque(job for job in self._jobs if job.wanted)
                if self._jobs:
                    count = min(self._most, len(self._jobs))
                    return [self._jobs.popleft() for _ in range(count)]
                self._news.wait()
            return []

    def _try(self, turn: Sequence[Job]) -> None:
        try:
            self._step(turn)
        except Exception as error:
            if len(turn) > 1:  # only the one that is at fault shall fail
                for job in turn:
                    self._try([job])
                return
            logger.exception("a step failed")
            turn[0].end(f"{type(error).__name__}: the model could not go on.")
