"""One route: its backends, its promise, its rules, what follows a failure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from router.config.fields import ConfigError, Names, Seconds, Strict, seconds
from router.core.task import Task


class QuantileConfig(Strict):
    """Seconds at one quantile, such as {p95: 1s}."""

    p50: Seconds | None = None
    p90: Seconds | None = None
    p95: Seconds | None = None
    p99: Seconds | None = None


class PromiseConfig(Strict):
    """What a route owes its callers."""

    deadline: Seconds = Field(
        default=60.0, description="seconds per call when the caller does not say"
    )
    first_event: QuantileConfig | None = Field(default=None, description="until a stream begins")
    answer: QuantileConfig | None = Field(default=None, description="until a whole answer is there")
    max_cost_usd: float | None = Field(default=None, gt=0, description="USD per call at most")


class RuleConfig(Strict):
    """A condition in CEL, and what holds then; names are backends or tags."""

    when: str
    prefer: Names = Field(default_factory=list)
    exclude: Names = Field(default_factory=list)
    require: Names | None = None


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _after(value: Any) -> Any:
    if isinstance(value, str) and value in _QUANTILES:
        return value
    try:
        return seconds(value)
    except ValueError:
        raise ValueError(
            f"write one of {', '.join(_QUANTILES)}, or a duration such as 800ms"
        ) from None


class HedgeConfig(Strict):
    """A second attempt beside a slow one, see docs/failures.md."""

    after: Annotated[
        Literal["p50", "p90", "p95", "p99"] | Annotated[float, Field(gt=0)],
        BeforeValidator(_after),
    ] = Field(default="p95", description="quantile of the backend's own times, or a duration")
    percent: float = Field(default=5.0, gt=0, le=50, description="of the route's calls at most")
    paid_twice: bool = Field(default=False, description="beside a paid attempt, another paid one")

    @property
    def quantile(self) -> float | None:
        """The share that `after` names; None when it is a duration."""
        return _QUANTILES[self.after] if isinstance(self.after, str) else None


class FailureConfig(Strict):
    """What to do when a backend fails, see docs/failures.md."""

    attempts: int = Field(default=3, ge=1, le=10, description="attempts per call at most")
    retries: int = Field(
        default=1, ge=0, le=5, description="times one that failed is asked again, after all others"
    )
    hedge: HedgeConfig | None = None
    on_broken_stream: Literal["error", "continue"] = Field(
        default="error", description="what follows a stream of text that breaks off"
    )


class RouteCacheConfig(Strict):
    """Equal calls get the same answer again, where the request determines it."""

    ttl: Seconds = Field(description="seconds for which an answer is given again")
    scope: Literal["key", "shared"] = Field(
        default="key", description="each key has answers of its own, or all share them"
    )
    stale: Seconds | None = Field(
        default=None, description="seconds after that, in which it is given if no backend answers"
    )


class RouteConfig(Strict):
    """One client-facing model name."""

    task: Task
    backends: list[str] = Field(min_length=1)
    objective: str = Field(
        default="cheapest", description="cheapest, fastest or balanced(USD per second)"
    )
    promise: PromiseConfig = PromiseConfig()
    rules: list[RuleConfig] = Field(default_factory=list)
    failure: FailureConfig = FailureConfig()
    max_output_tokens: int = Field(
        default=512, ge=1, description="sent when the caller gives no maximum"
    )
    baseline: str | None = Field(
        default=None, description="paid backend that savings are stated against"
    )
    mixed_vectors: bool = Field(
        default=False, description="embeddings of different models may answer this route"
    )
    cache: RouteCacheConfig | None = Field(
        default=None, description="keep answers, and give them again; off when not set"
    )


Objective = Literal["cheapest", "fastest", "balanced"]


def seconds_worth(objective: str) -> float | None:
    """USD that a second is worth; None when only seconds count. Raises ConfigError."""
    if objective == "cheapest":
        return 0.0
    if objective == "fastest":
        return None
    found = re.fullmatch(r"balanced\(\s*(\d+\.?\d*(?:[eE][+-]?\d{1,2})?)\s*\)", objective)
    if not found:
        raise ConfigError(
            f"objective {objective!r} is not known; write cheapest, fastest or balanced(0.01), "
            "the figure being what a second is worth in USD"
        )
    return float(found[1])
