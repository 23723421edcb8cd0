"""The seam between handlers and engines: what a generator and an encoder are.

A Run is one request's generation. Engine threads `put` tokens and `end` it, the handler `take`s.
All runs of a worker share one condition, so that the handler can wait for news of any of them.
A run whose caller left is `cancel`led; engines look at `wanted` before each token. When the handler
is not called at all any more (every caller left at once), the lease runs out and says the same.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LEASE_SECONDS = 3.0  # far above the pause between two calls of a handler, far below a long answer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked; temperature 0 is greedy."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether chance has no part in it."""
        return self.temperature == 0.0


class Watch:
    """The shared condition, and when the handler was last called."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self.changed = threading.Condition()
        self._clock = clock
        self._seen = clock()

    def renew(self) -> None:
        """The handler is being called: somebody is still waiting."""
        self._seen = self._clock()

    @property
    def alive(self) -> bool:
        """Whether the handler was called within the lease."""
        return self._clock() - self._seen < LEASE_SECONDS


class Run:
    """One generation under way; thread-safe."""

    def __init__(self, prompt: Sequence[int], sampling: Sampling, watch: Watch) -> None:
        """`prompt` is token ids."""
        self.prompt = list(prompt)
        self.sampling = sampling
        self._watch = watch
        self._tokens: list[int] = []
        self._cancelled = False
        self.produced = 0
        self.reason: str | None = None  # "stop" or "length" once ended
        self.fault: str | None = None

    def put(self, token: int) -> None:
        """Engine: one more token (never the end token)."""
        with self._watch.changed:
            self._tokens.append(token)
            self.produced += 1
            self._watch.changed.notify_all()

    def end(self, reason: str) -> None:
        """Engine: no more tokens; the first call counts."""
        with self._watch.changed:
            self.reason = self.reason or reason
            self._watch.changed.notify_all()

    def fail(self, message: str) -> None:
        """Engine: generation broke."""
        with self._watch.changed:
            if self.reason is None:
                self.fault = message
            self._watch.changed.notify_all()

    def take(self) -> list[int]:
        """Handler: the tokens since the last call."""
        with self._watch.changed:
            tokens, self._tokens = self._tokens, []
            return tokens

    def cancel(self) -> None:
        """Handler: nobody wants more."""
        self._cancelled = True

    @property
    def wanted(self) -> bool:
        """Whether an engine should go on with it."""
        return not self._cancelled and self.reason is None and self._watch.alive

    @property
    def over(self) -> bool:
        """Whether no more tokens will come."""
        return self.reason is not None or self.fault is not None


class Generator(Protocol):
    """Continues token ids."""

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer together."""

    def start(self, runs: Sequence[Run]) -> None:
        """Begin these runs, beside those under way; returns at once."""

    def close(self) -> None:
        """Stop all threads."""


class Encoder(Protocol):
    """Turns batches of token ids into vectors; rows of one call have similar lengths."""

    @property
    def context(self) -> int:
        """Most tokens of one text."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model's own head; none for a bare encoder."""

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        """Array [rows, dimensions], float32: pooled states, or the head's logits."""
