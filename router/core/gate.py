"""A Gate keeps the state: a sync guard in front of a service.

    release = gate.acquire(call)    raises Rejected
    release(outcome)                never raises; called exactly once

A gate never awaits, so its whole transition happens between two awaits: it needs no lock and
cannot block the loop. Its clock is passed in, so its tests need no loop and no sleep.

Sources: concurrency-limits Limiter/Listener; resilience4j acquirePermission and onResult;
finagle FailureAccrualPolicy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .call import Call, Outcome

Clock = Callable[[], float]
Release = Callable[[Outcome], None]


class Gate(Protocol):
    """One rule with memory."""

    def acquire(self, call: Call) -> Release:
        """Let *call* through and return how to tell its outcome, or raise Rejected."""
        ...

    def ready(self) -> bool:
        """Would acquire succeed now? A free hint for the plan, not a promise."""
        ...
