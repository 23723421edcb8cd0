"""Choose: which backends may serve a call, in what order, and why each was taken or left.

    look(call, route, now) -> sights          reads the gates' free hints; changes nothing
    plan(call, route, sights, now) -> Plan    pure: no I/O, no clock, no state

A candidate is left by the first of these that holds:

    rule       a rule of the route, or data protection (`local_only`)
    unfit      its wire or its model cannot carry this call
    context    the prompt is longer than its context
    cost       its quote passes what the call may cost
    <gate>     its breaker, slots, pause or health say no
    silent     it answers nothing any more; it is asked where nobody else is left
    deadline   it is known to need longer than what is left
    full       its queue alone takes more of that than a sheddable call may wait, or more than a
               stream may wait for its first event; a sheddable call leaves room for such streams

The others are tried in this order: those that keep promise and deadline before those that should
break one, then the preferred, then by the objective: dollars (cheapest), seconds (fastest), or both
with an exchange rate (balanced); ties go to the quicker one. The first of them steps back when some
of its latest calls failed and the others have no extra attempts left for those that may fail too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, sqrt
from typing import Any

import msgspec
from msgspec.structs import replace

from router.core.call import Call, Criticality, Usage
from router.core.trail import Trail
from router.gates.meter import size_class
from router.route import Backend, Effect, Gates, Route

UNPRICED = "no price is known for"
SILENT, STILL = "silent", "silent, and nobody else may be asked"
AILING = "some of its calls fail, and nobody has extra attempts left for them"
BY_UNIT = frozenset({"translate", "speak", "transcribe", "annotate"})
"""Tasks whose bound is the backend's own (`Api.units`), not the tokens of a text."""


PATIENCE: Mapping[Criticality, float] = {
    "critical_plus": 1.0,
    "critical": 1.0,
    "sheddable_plus": 0.75,
    "sheddable": 0.5,
}
"""Share of the time beside its service that a call may wait: room for more critical ones."""


class Sight(msgspec.Struct, frozen=True, gc=False):
    """What can be seen of a backend at one moment: the plan's whole knowledge of it."""

    blocked: str = ""
    retry_after: float = 0.0
    stretch: float = 1.0
    """Waiting included, a call takes this many times its service time."""
    mean: float = 0.0
    least: float = 0.0
    """What is known to be needed: the mean without any stretching to a size never seen."""
    promised: float = 0.0
    """Service seconds at the quantile of the promise that applies; the mean without one."""
    share: float = 1.0
    failing: float = 0.0
    """Share of its latest calls that failed."""
    risked: float = 0.0
    """Of the calls that it has now, no more will fail, as far as its latest ones tell."""
    spare: float = inf
    """Extra attempts that it may take over; looked up only where a backend fails."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One backend weighed for one call. Costs in pico-dollars, times in seconds."""

    backend: str
    quote: int
    cost: int
    seconds: float
    promised: float
    late: bool
    """It would break the promise."""
    left: str
    """Kind of reason it was left; "" when taken."""
    why: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Backends in the order in which they will be tried, and every candidate's record."""

    attempts: tuple[Backend, ...]
    candidates: tuple[Candidate, ...]
    objective: str
    rules: tuple[str, ...]
    """The rules that held."""


def look(call: Call, route: Route, now: float) -> tuple[Sight, ...]:
    """Read every backend's gates, in the order of the route."""
    promise = route.promise.first if call.stream else route.promise.answer
    size = size_class(call.input_tokens, route.forecast.output_tokens(call))
    quantile = None if promise is None else promise[0]
    wanted = (size, quantile, call.stream)
    sights = [_sight(b.gates, wanted, call.criticality, now) for b in route.backends]
    if any(sight.failing for sight in sights):
        sights = [
            replace(
                sight,
                risked=_risked(sight.failing, backend.gates.in_flight.count),
                spare=backend.gates.retries.left,
            )
            for sight, backend in zip(sights, route.backends, strict=True)
        ]
    return tuple(sights)


def _risked(share: float, calls: int) -> float:
    """Of that many calls, as many as fail at most: three standard deviations above the mean."""
    mean = share * calls
    return min(float(calls), mean + 3.0 * sqrt(mean))


def _sight(
    gates: Gates, wanted: tuple[int, float | None, bool], level: Criticality, now: float
) -> Sight:
    """*wanted*: size class, quantile or None for the mean, whether of the first event."""
    blocked, retry_after = "", 0.0
    admission = gates.admission
    if not gates.breaker.ready():
        blocked, retry_after = "breaker open", gates.breaker.retry_after
    elif not gates.health.ready():
        blocked, retry_after = "down", 1.0
    elif not gates.silence.ready():
        blocked, retry_after = "silent", 1.0
    elif not gates.pause.ready():
        blocked, retry_after = "throttled", gates.pause.retry_after
    elif admission is not None and not admission.room(level):
        blocked, retry_after = "full", admission.retry_after(level)
    elif not gates.in_flight.ready():
        blocked, retry_after = "full", 1.0
    size, quantile, first = wanted
    mean, least, promised, wait, share = gates.meter.sight(size, quantile, now, first=first)
    failing = gates.breaker.failing
    return Sight(blocked, retry_after, wait, mean, least, promised, share, failing)


def plan(call: Call, route: Route, sights: tuple[Sight, ...], now: float) -> Plan:
    """Weigh every backend of *route*; same arguments, same plan."""
    effects = route.rules(call)
    limit = call.max_cost if call.max_cost is not None else route.promise.max_cost
    promise = route.promise.first if call.stream else route.promise.answer
    output, left_seconds = route.forecast.output_tokens(call), call.deadline - now
    patience = PATIENCE[call.criticality]
    local_only, by_unit = "local_only" in call.tags, call.task in BY_UNIT
    weighed = []
    taken: list[tuple[Any, ...]] = []
    for index, backend in enumerate(route.backends):
        sight = sights[index]
        price, seconds = backend.price, sight.mean * sight.stretch
        promised = sight.promised * sight.stretch
        kind, why = _leave(call, backend, effects, local_only=local_only)
        most = backend.api.units(call, backend.model) if by_unit and not kind else None
        quote = price.quote(call, left_seconds, most)
        cost = price.predicted(call, output, sight.mean, sight.share, most)
        if kind:
            pass
        elif most is not None and not price.free and (missing := price.lacks(most)):
            kind, why = "unfit", f"{UNPRICED} {missing}"
        elif limit is not None and quote > limit and not price.free:
            kind, why = "cost", "could cost more than the call may"
        elif sight.blocked and sight.blocked != SILENT:
            kind = why = sight.blocked
        elif sight.least * sight.stretch > left_seconds:
            needed = sight.least * sight.stretch
            kind, why = "deadline", f"needs about {needed:.2f} s, {left_seconds:.2f} s are left"
        elif (patience < 1.0 or (backend.first_event is not None and call.stream)) and (
            (queue := sight.least * (sight.stretch - 1.0))
            > patience * (_room(backend, left_seconds) - sight.least)
            and queue > 0.0
        ):
            kind, why = "full", f"its queue is about {queue:.2f} s, too long for {_whom(call)}"
        elif sight.blocked:
            kind = why = SILENT
        late = seconds > left_seconds or (promise is not None and promised > promise[1])
        candidate = Candidate(backend.name, quote, cost, seconds, promised, late, kind, why)
        weighed.append(candidate)
        if not kind or kind == SILENT:
            liked = any(backend.name in e.prefer for e in effects) if effects else False
            taken.append((kind, late, not liked, *_score(route, cost, seconds), index))
    return Plan(
        tuple([route.backends[index] for index in _order(taken, weighed, sights)]),
        tuple(weighed),
        _objective(route),
        tuple([e.rule for e in effects]),
    )


def _order(
    taken: list[tuple[Any, ...]], weighed: list[Candidate], sights: tuple[Sight, ...]
) -> list[int]:
    """Which are asked, by their places in the route; what is special about it is noted."""
    taken.sort()  # the silent ones last: the others have no kind
    order = [entry[-1] for entry in taken if not entry[0]]
    if len(order) > 1 and sights[order[0]].failing:
        _unrescued(order, weighed, sights)
    if not order:
        # To be slow looks the same as to hang: with nobody else, asking is better than refusing.
        order = [entry[-1] for entry in taken]
        for index in order:
            weighed[index] = replace(weighed[index], left="", why=STILL)
    return order


def _unrescued(order: list[int], weighed: list[Candidate], sights: tuple[Sight, ...]) -> None:
    """Put a backend that fails now and then behind one that does better.

    While no other has extra attempts left for the calls that it may fail they would be refused; a
    first attempt at the other is no extra one.
    """
    first, *others = order
    sight = sights[first]
    if any(sights[other].spare >= 1.0 + sight.risked for other in others):
        return
    better = [at for at, other in enumerate(others, 1) if sights[other].failing < sight.failing]
    if better:
        order.insert(0, order.pop(better[0]))
        weighed[first] = replace(weighed[first], why=AILING)


def _room(backend: Backend, left: float) -> float:
    """Seconds in which the backend has to answer a stream, or to be free for one."""
    limit = backend.first_event
    return left if limit is None or limit > left else limit


def _whom(call: Call) -> str:
    return f"a {call.criticality} stream" if call.stream else call.criticality


def _score(route: Route, cost: int, seconds: float) -> tuple[float, float]:
    worth = route.seconds_worth
    return (seconds, cost) if worth is None else (cost + worth * seconds, seconds)


def _objective(route: Route) -> str:
    if route.seconds_worth is None:
        return "fastest"
    return "balanced" if route.seconds_worth else "cheapest"


def _leave(
    call: Call, backend: Backend, effects: tuple[Effect, ...], *, local_only: bool
) -> tuple[str, str]:
    if local_only and not backend.local:
        return "rule", "the call is tagged local_only"
    for effect in effects:
        if backend.name in effect.exclude:
            return "rule", f"excluded when {effect.rule}"
        if effect.require is not None and backend.name not in effect.require:
            return "rule", f"not among those required when {effect.rule}"
    unfit = backend.api.unfit(call, backend.model)
    if not unfit and call.task in BY_UNIT:
        unfit = backend.abilities.unfit(call)
    if unfit:
        return "unfit", unfit
    if backend.context and call.input_tokens + min(call.output_limit, 1) > backend.context:
        return (
            "context",
            f"about {call.input_tokens} tokens in, its context holds {backend.context}",
        )
    return "", ""


def baseline_cost(route: Route, trail: Trail, usage: Usage) -> int | None:
    """What an answer would have cost at the route's baseline, in pico-dollars; None: not known.

    Tokens are priced as they were used. What vendors count each in their own way (characters,
    credits, seconds, images) is what the plan expected of the baseline for this very call.
    """
    baseline = route.baseline
    if baseline is None:
        return None
    if route.task not in BY_UNIT:
        return baseline.price.of(usage)
    if trail.baseline is not None:
        return trail.baseline
    last = trail.attempts[-1] if trail.attempts else None
    if last is not None and last.backend == baseline.name:
        return last.cost
    for candidate in trail.plan.candidates:
        if candidate.backend == baseline.name and candidate.left not in {"unfit", "context"}:
            return int(candidate.cost)
    return None
