"""What happened to one call: the plan, and each attempt as it ended."""

from __future__ import annotations

from typing import Any

from .verdict import Verdict


class Attempt:
    """One call to one backend. Seconds since the attempt began; cost in pico-dollars."""

    __slots__ = ("backend", "began", "cost", "detail", "first", "kind", "seconds", "verdict")

    def __init__(self, backend: str, kind: str = "first") -> None:
        self.backend = backend
        self.began = 0.0  # monotonic
        self.kind = kind
        """Why it was made: first, failover, retry, hedge, resume."""
        self.verdict: Verdict | None = None
        self.detail = ""
        self.seconds = 0.0
        self.first: float | None = None
        self.cost = 0

    @property
    def sent(self) -> bool:
        """Whether the backend was asked at all."""
        return self.verdict is None or self.verdict.name != "rejected"


class Trail:
    """Grows while the call runs; complete once its reply is closed."""

    __slots__ = ("attempts", "baseline", "plan")

    def __init__(self, plan: Any) -> None:
        self.plan = plan
        self.attempts: list[Attempt] = []
        self.baseline: int | None = None
        """Pico-dollars of the baseline for an answer of the cache, as known when it was made."""

    @property
    def cost(self) -> int:
        """Pico-dollars over all attempts, the failed ones included."""
        return sum(a.cost for a in self.attempts)

    @property
    def sent(self) -> int:
        return sum(a.sent for a in self.attempts)
