"""What a route is, built at load: its backends with their gates, its promise, its rules, its hedge.

The plan weighs them for a call; nothing here changes but the state that the gates keep.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.core.ability import Abilities
from router.core.api import Api
from router.core.call import Call
from router.core.money import Price
from router.core.service import Service
from router.core.task import Task
from router.gates.admission import Admission
from router.gates.breaker import Breaker
from router.gates.forecast import Forecast
from router.gates.health import Health
from router.gates.in_flight import InFlight
from router.gates.meter import Meter
from router.gates.pause import Pause
from router.gates.retries import Retries
from router.gates.silence import Silence

NOBODY: frozenset[str] = frozenset()


class Gates(msgspec.Struct, frozen=True):
    """The state of one backend; carried over a reload by the backend's name."""

    breaker: Breaker
    pause: Pause
    health: Health
    in_flight: InFlight
    meter: Meter
    retries: Retries
    silence: Silence
    admission: Admission | None = None
    """None where `in_flight` alone limits."""


class Backend(msgspec.Struct, frozen=True):
    """One place that can serve, built at load."""

    name: str
    api: Api
    model: str
    tasks: frozenset[Task]
    price: Price
    local: bool
    tags: frozenset[str]
    context: int
    """Tokens in and out together; 0 when not limited."""
    gates: Gates
    service: Service
    abilities: Abilities = Abilities()
    first_event: float | None = None
    """Seconds in which a stream has to begin; None: the deadline's."""


class Effect(msgspec.Struct, frozen=True):
    """What a rule that holds does, as names of backends."""

    rule: str
    prefer: frozenset[str] = NOBODY
    exclude: frozenset[str] = NOBODY
    require: frozenset[str] | None = None


class Promise(msgspec.Struct, frozen=True):
    """What the route owes: seconds at a quantile, and pico-dollars a call at most."""

    first: tuple[float, float] | None = None
    """(quantile, seconds) to the first event of a stream."""
    answer: tuple[float, float] | None = None
    """(quantile, seconds) to a whole answer."""
    max_cost: int | None = None


def no_rules(call: Call) -> tuple[Effect, ...]:
    """A route without rules."""
    return ()


class Hedge(msgspec.Struct, frozen=True):
    """When a slow attempt gets a second one beside it."""

    allowance: Retries
    """A share of the route's calls."""
    quantile: float = 0.95
    """Of the first backend's own times."""
    after: float | None = None
    """Seconds, instead of the quantile."""
    paid_twice: bool = False
    """Both may be paid ones."""


class Route(msgspec.Struct, frozen=True):
    """What one client-facing model name may use, and what it owes."""

    name: str
    task: Task
    backends: tuple[Backend, ...]
    forecast: Forecast
    deadline: float
    """Seconds a call may take when the caller does not say."""
    output_limit: int
    """Output tokens when the caller does not say."""
    seconds_worth: int | None = 0
    """Pico-dollars that a second is worth; None: only seconds count."""
    promise: Promise = Promise()
    rules: Callable[[Call], tuple[Effect, ...]] = no_rules
    attempts: int = 3
    retries: int = 0
    """How often one that failed is asked again, once nobody else is left."""
    hedge: Hedge | None = None
    resume: bool = False
    """A stream that breaks is continued by the next backend."""
    baseline: Backend | None = None
    """The paid backend that savings are stated against."""
