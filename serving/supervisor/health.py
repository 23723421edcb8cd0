"""What is known of one model, and when to ask again; no I/O, the clock is passed in.

ready = a worker is READY, it is not idle while requests wait (`progress.py`), and the last tiny
request was answered. While requests are in the queue no tiny one is added: it would only make the
queue longer, and real answers show as much.
"""

from dataclasses import dataclass, field

from serving.supervisor.probe import Described
from serving.supervisor.progress import Progress

CANARY_SECONDS = 5.0  # between two tiny requests of a healthy, idle model
RETRY_SECONDS = 0.5  # after one that was not answered
HUNG_FAILURES = 5


@dataclass(slots=True)
class Health:
    """One model of the running TorchServe."""

    described: Described | None = None
    answered: bool = False
    canary_seconds: float | None = None
    failures: int = 0
    asking: bool = False
    missed: bool = False
    """Management did not answer when it was asked last."""
    next_canary: float = 0.0
    progress: Progress = field(default_factory=Progress)

    @property
    def ready(self) -> bool:
        """Whether requests will be served."""
        if self.described is None or not self.answered:
            return False
        return self.described.workers > self.progress.doubtful

    @property
    def hung(self) -> bool:
        """Whether only a new TorchServe can help: workers say READY, but nothing is answered."""
        return self.failures >= HUNG_FAILURES and bool(self.described and self.described.workers)

    def wants_canary(self, now: float, *, known: bool) -> bool:
        """Whether to send a tiny request now; `known` says whether we know one for this model."""
        if not known:
            self.answered = True  # somebody else's handler: READY is all that can be known
            return False
        if self.asking or self.described is None or self.described.workers == 0:
            return False
        busy = self.described.pending > 0 or self.described.queue_free == 0
        return now >= self.next_canary and not (busy and self.answered)

    def saw(self, described: Described | None) -> None:
        """Management was asked; a model without workers has answered nothing.

        One that could not be asked (None) once is as it was: a server under load may be late.
        """
        missed, self.missed = self.missed, described is None
        if described is None and not missed:
            return
        self.described = described
        if described is None or described.workers == 0:
            self.answered, self.next_canary = False, 0.0

    @property
    def busy(self) -> bool:
        """Whether requests wait: a tiny one that is late then waits behind them."""
        return self.described is not None and self.described.pending > 0

    def tell(self, *, answered: bool | None, seconds: float, now: float) -> None:
        """A tiny request ended; None means that the model was too busy for it."""
        self.asking = False
        self.next_canary = now + (CANARY_SECONDS if answered else RETRY_SECONDS)
        if answered is None:
            return
        self.answered = answered
        self.failures = 0 if answered else self.failures + 1
        if answered:
            self.canary_seconds = seconds

    def report(self) -> dict[str, object]:
        """The model's part of /status."""
        said = self.described or Described(0, 0, 0)
        return {
            "ready": self.ready,
            "workers": said.workers,
            "pending": said.pending,
            "queue_free": said.queue_free,
            "canary_seconds": self.canary_seconds,
        }
