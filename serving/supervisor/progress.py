"""Finds workers that are alive and do nothing while requests wait for their model.

    idle      its processor time did not change between two looks, and requests waited at both
    doubtful  idle for DOUBT_SECONDS: a model whose workers all are is shown as not ready
    stuck     idle for STUCK_SECONDS: only ending it helps; TorchServe then starts another

A worker that computes takes processor time, and one that has nothing to do takes the next request;
so one that does neither is stopped, locked up, or waits for something that never comes. One that
loops for ever is not seen here: TorchServe ends it once a request outlasts `responseTimeout`.
"""

from collections.abc import Mapping

DOUBT_SECONDS = 3.0
STUCK_SECONDS = 10.0


class Progress:
    """Of the workers of one model, by their pids; no I/O, the clock is passed in."""

    def __init__(self) -> None:
        """Nobody was seen idle yet."""
        self._idle: dict[int, tuple[float, float]] = {}  # processor time, and since when it is that
        self._now = 0.0

    def saw(self, spent: Mapping[int, float], now: float) -> None:
        """Seconds of processor time of each worker; nothing while no request waits."""
        idle = self._idle
        self._now = now
        self._idle = {
            pid: idle[pid] if pid in idle and idle[pid][0] == seconds else (seconds, now)
            for pid, seconds in spent.items()
        }

    @property
    def doubtful(self) -> int:
        """How many may never do anything again."""
        return len(self._longer(DOUBT_SECONDS))

    @property
    def stuck(self) -> list[int]:
        """The pids of those that have to be ended."""
        return self._longer(STUCK_SECONDS)

    def _longer(self, seconds: float) -> list[int]:
        return [pid for pid, (_, since) in self._idle.items() if self._now - since >= seconds]
