"""What comes up: a Reply, closed exactly once, after its last byte or when its reader left.

A whole answer is a hub `result`, or a raw `body` in the wire of the caller. A stream is
`events`: hub events, or raw frames in the wire of the caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from .call import Usage
from .failure import Failure
from .task import Event, Result
from .verdict import OK, Verdict

Listener = Callable[[Verdict], None]
CACHE = "cache"
"""Who answered, where no backend was asked."""


class Served(msgspec.Struct, frozen=True):
    """What the cache had to do with a reply."""

    state: Literal["hit", "miss", "stale", "shared", "bypass"]
    """Given again; asked for; given again past its time, since nobody else answered; the answer to
    an equal call that was under way; none of its business."""
    age: float | None = None
    """Seconds since it was made, when it was given again."""


class Reply:
    __slots__ = (
        "_closed",
        "_listeners",
        "backend",
        "body",
        "cache",
        "cost",
        "events",
        "failure",
        "first",
        "model",
        "passed",
        "result",
        "status",
        "trail",
        "usage",
        "verdict",
    )

    def __init__(
        self,
        *,
        backend: str,
        status: int = 200,
        result: Result | None = None,
        body: bytes = b"",
        events: AsyncIterator[bytes | Event] | None = None,
        usage: Usage | None = None,
        verdict: Verdict = OK,
        first: float | None = None,
    ) -> None:
        self.backend = backend
        self.status = status
        self.result = result
        self.body = body
        self.events = events
        self.usage = usage
        """Known from the start for a whole answer, after the last event for a stream."""
        self.verdict = verdict
        self.first = first
        self.model = ""
        """The model that the backend says has answered."""
        self.passed: tuple[tuple[bytes, bytes], ...] = ()
        """Headers of the backend for a client of the same wire."""
        self.cost: int | None = None
        """Pico-dollars; set by spend when known."""
        self.trail: object = None
        """The plan and its attempts, set by dispatch."""
        self.failure: Failure | None = None
        """What the backend said when the client's own request was wrong."""
        self.cache: Served | None = None
        """None on routes that keep no answers."""
        self._closed = False
        self._listeners: list[Listener] = []

    def on_close(self, listener: Listener) -> None:
        """Tell *listener* the verdict when the reply is closed; innermost layers first."""
        self._listeners.append(listener)

    def close(self, verdict: Verdict | None = None) -> None:
        """End the reply with *verdict*, or its own. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        listeners, self._listeners = self._listeners, []
        self.verdict = ended = verdict or self.verdict
        for listener in listeners:
            listener(ended)
