"""What goes down: one Call, read once at the door and never changed.

Units, everywhere in this package: times are seconds on the monotonic clock, money is integer
pico-dollars (1 USD = 10**12), sizes are bytes, text sizes are tokens of the serving model.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Literal, get_args

import msgspec

from .task import Request, Task
from .trace import Trace
from .verdict import Verdict

Criticality = Literal["critical_plus", "critical", "sheddable_plus", "sheddable"]
"""How much a call matters when not all can be served; the names are those of Google's SRE book."""
CRITICALITIES: tuple[Criticality, ...] = get_args(Criticality)
"""The most critical first."""


class Key(msgspec.Struct, frozen=True):
    """Who calls. `routes` None allows all of them."""

    name: str
    team: str = "default"
    tags: frozenset[str] = frozenset()
    routes: frozenset[str] | None = None
    criticality: Criticality | None = None
    """The highest that its calls may have; None: any."""


class Call(msgspec.Struct, frozen=True):
    """One client request."""

    id: str
    key: Key | None
    """None when the caller did not say who it is, or nobody knows it."""
    route: str
    """The client-facing model name."""
    task: Task
    request: Request
    wire: str
    """The door's wire format."""
    fields: Mapping[str, msgspec.Raw]
    """The top-level fields of the body as received, undecoded."""
    extras: frozenset[str]
    """Names of the fields that the hub type does not hold and that change the answer."""
    created: int
    """Unix time of arrival, for wires that show it."""
    arrived: float
    """Monotonic."""
    deadline: float
    """Absolute, monotonic."""
    text_bytes: int
    """UTF-8 bytes, or characters, of what the model will read."""
    input_tokens: int
    """Predicted."""
    input_bound: int
    """No tokenizer makes more of it: UTF-8 bytes and the overhead of messages."""
    output_limit: int
    """Output tokens that are sent as the maximum, over all choices; 0 where none are made."""
    stream: bool = False
    path: str = ""
    """The pattern of the door's path: one wire may have several forms of one task."""
    tags: frozenset[str] = frozenset()
    hurried: bool = False
    """The caller gives less time than the route would."""
    answer_by: float = inf
    """Absolute: when the answer of one attempt, or its first event, must be there, so that time is
    left for the next backend."""
    max_cost: int | None = None
    """Pico-dollars the caller will pay at most; None: the route's own limit."""
    caching: Literal["", "no-cache", "no-store"] = ""
    """The caller wants a new answer, or nothing to be kept of this one."""
    criticality: Criticality = "critical"
    trace: Trace | None = None
    """The trace that it is part of; None while traces are off."""


class Usage(msgspec.Struct, frozen=True):
    """What one attempt used, as the backend reported it, in the units that it bills.

    Tokens read from the vendor's cache, those newly written into it and those of audio are part of
    the input; tokens of audio made are part of the output. Seconds are as rounded by the vendor.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    images: int = 0
    written_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    credits: int = 0
    features: tuple[tuple[str, int], ...] = ()
    """Of images: (feature, images asked for it)."""


NOTHING = Usage()


def added(one: Usage, other: Usage) -> Usage:
    """The sum of two usages."""
    features = dict(one.features)
    for name, count in other.features:
        features[name] = features.get(name, 0) + count
    sums = {
        name: getattr(one, name) + getattr(other, name)
        for name in Usage.__struct_fields__
        if name != "features"
    }
    return Usage(**sums, features=tuple(features.items()))


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended: what every gate is told on release."""

    verdict: Verdict
    seconds: float
    usage: Usage | None = None
    """None when the backend did not say."""
    first: float | None = None
    """Seconds to the first event of a stream."""
    retry_after: float | None = None
