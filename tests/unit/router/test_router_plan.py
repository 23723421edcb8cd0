"""Laws of choosing, over random backends, what is seen of them, and calls."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.call import Outcome
from router.core.money import Price
from router.core.verdict import FAULT, OK, THROTTLED
from router.plan import AILING, PATIENCE, SILENT, Plan, Sight, look, plan
from router.route import Effect, Promise, Route
from tests.fakes import OWN, PAID, FakeClock, a_backend, a_call, a_route

CLOCK = FakeClock()
NAMES = ("a", "b", "c", "d")
PRICES = st.builds(
    Price,
    input_token=st.sampled_from([0, 1, 150_000]),
    output_token=st.sampled_from([0, 1, 600_000]),
    call=st.sampled_from([0, 0, 10**9]),
    machine_second=st.sampled_from([0, 0, 10**8]),
)
SIGHTS = st.builds(
    Sight,
    blocked=st.sampled_from(["", "", "", "breaker open", "full", "down", "throttled"]),
    retry_after=st.floats(0, 60),
    stretch=st.floats(1, 4),
    mean=st.floats(0, 20),
    least=st.floats(0, 20),
    promised=st.floats(0, 40),
    share=st.floats(1, 64),
)
SUBSETS = st.frozensets(st.sampled_from(NAMES))
EFFECTS = st.lists(
    st.builds(
        Effect,
        rule=st.sampled_from(["r1", "r2"]),
        prefer=SUBSETS,
        exclude=SUBSETS,
        require=st.none() | SUBSETS,
    ),
    max_size=2,
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, Route, tuple[Sight, ...], float]:
    backends = [
        a_backend(
            name,
            clock=CLOCK,
            price=draw(PRICES),
            local=draw(st.booleans()),
            unfit=draw(st.sampled_from(["", "", "", "no tools"])),
            context=draw(st.sampled_from([0, 50, 1000])),
        )
        for name in NAMES[: draw(st.integers(1, 4))]
    ]
    effects = tuple(draw(EFFECTS))
    limits = st.none() | st.sampled_from([0, 10**6, 10**8, 10**10])
    quantile = st.none() | st.tuples(st.sampled_from([0.5, 0.95]), st.floats(0.1, 30))
    route = a_route(
        *backends,
        seconds_worth=draw(st.sampled_from([0, 0, None, 10**9])),
        promise=Promise(draw(quantile), draw(quantile), draw(limits)),
        rules=lambda call: effects,
    )
    call = a_call(
        input_tokens=draw(st.integers(0, 2000)),
        input_bound=4000,
        output_limit=draw(st.integers(0, 100)),
        stream=draw(st.booleans()),
        tags=draw(st.sampled_from([frozenset(), frozenset({"local_only"})])),
        max_cost=draw(limits),
        deadline=1000.0 + draw(st.floats(-1, 60)),
    )
    return call, route, tuple(draw(SIGHTS) for _ in backends), 1000.0


SITUATIONS = situations()


def taken(chosen: Plan) -> list[str]:
    return [b.name for b in chosen.attempts]


def limit_of(call: Any, route: Route) -> int | None:
    return call.max_cost if call.max_cost is not None else route.promise.max_cost


@given(SITUATIONS)
def test_choosing_is_pure(situation):
    """The same arguments give the same plan, also when asked in between."""
    first = plan(*situation)
    plan(*situation)
    assert plan(*situation) == first


@given(SITUATIONS)
def test_every_backend_is_weighed_once(situation):
    """Every backend has one record; it is taken when no reason to leave it is given, and only then."""
    chosen = plan(*situation)
    route = situation[1]
    assert [c.backend for c in chosen.candidates] == [b.name for b in route.backends]
    assert sorted(taken(chosen)) == sorted(c.backend for c in chosen.candidates if not c.left)
    assert all(bool(c.left) == bool(c.why) for c in chosen.candidates)


@given(SITUATIONS)
def test_local_only_stays_in_house(situation):
    """A call tagged local_only never goes to a backend that is not local, whatever else holds."""
    call, route, sights, now = situation
    call = msgspec.structs.replace(call, tags=frozenset({"local_only"}))
    assert all(b.local for b in plan(call, route, sights, now).attempts)


@given(SITUATIONS)
def test_rules_are_obeyed(situation):
    """An excluded backend, or one outside of what is required, is never tried."""
    call, route, sights, now = situation
    names = set(taken(plan(call, route, sights, now)))
    for effect in route.rules(call):
        assert not names & effect.exclude
        assert effect.require is None or names <= effect.require


@given(SITUATIONS)
def test_no_quote_passes_the_limit(situation):
    """A backend that owes a vendor money is tried only if its quote is within the call's limit."""
    call, route, sights, now = situation
    limit = limit_of(call, route)
    for backend in plan(call, route, sights, now).attempts:
        quote = backend.price.quote(call, call.deadline - now)
        assert limit is None or backend.price.free or quote <= limit


@given(SITUATIONS)
def test_who_cannot_serve_is_left(situation):
    """Unfit wires, full contexts, closed gates and missed deadlines leave a backend out."""
    call, route, sights, now = situation
    names = taken(plan(call, route, sights, now))
    for backend, sight in zip(route.backends, sights, strict=True):
        if backend.name in names:
            assert not backend.api.unfit(call)
            assert not backend.context or call.input_tokens <= backend.context
            assert not sight.blocked
            assert sight.least * sight.stretch <= call.deadline - now


@given(SITUATIONS)
def test_the_order_of_attempts(situation):
    """Those that keep the promise come first, then the preferred, then by the objective, then the quicker."""
    call, route, sights, now = situation
    chosen = plan(call, route, sights, now)
    by_name = {c.backend: c for c in chosen.candidates}
    effects = route.rules(call)

    def rank(name: str) -> tuple[Any, ...]:
        c = by_name[name]
        liked = any(name in e.prefer for e in effects)
        worth = route.seconds_worth
        score = c.seconds if worth is None else c.cost + worth * c.seconds
        return (c.late, not liked, score, c.cost if worth is None else c.seconds)

    ranks = [rank(name) for name in taken(chosen)]
    assert ranks == sorted(ranks)


@given(SITUATIONS)
def test_the_cheapest_order_is_by_cost(situation):
    """Among those that keep the promise, unless one is preferred, the expected cost never falls."""
    call, route, sights, now = situation
    route = msgspec.structs.replace(route, seconds_worth=0, rules=lambda call: ())
    chosen = plan(call, route, sights, now)
    by_name = {c.backend: c for c in chosen.candidates}
    costs = [by_name[n].cost for n in taken(chosen) if not by_name[n].late]
    assert costs == sorted(costs)


@given(SITUATIONS)
def test_late_means_that_the_promise_would_break(situation):
    """Late is who should pass the seconds of the promise that applies, or the deadline."""
    call, route, sights, _ = situation
    promise = route.promise.first if call.stream else route.promise.answer
    for c, sight in zip(plan(*situation).candidates, sights, strict=True):
        over = sight.mean * sight.stretch > call.deadline - situation[3]
        broken = promise is not None and sight.promised * sight.stretch > promise[1]
        assert c.late == (over or broken)


@given(SITUATIONS)
def test_order_of_the_configuration_is_no_reason(situation):
    """Listing the backends the other way round takes and leaves the same ones for the same reasons."""
    call, route, sights, now = situation
    turned = msgspec.structs.replace(route, backends=route.backends[::-1])
    first = {c.backend: c for c in plan(call, route, sights, now).candidates}
    second = {c.backend: c for c in plan(call, turned, sights[::-1], now).candidates}
    assert first == second


# Examples, for the reasons and their words.


def two(**changes: Any) -> Route:
    cheap = a_backend("cheap", clock=CLOCK, price=OWN, local=True)
    dear = a_backend("dear", clock=CLOCK, price=PAID)
    return a_route(cheap, dear, **changes)


CLEAR = (Sight(), Sight())


def test_cheapest_first():
    """Among equals the cheaper one is tried first, wherever it stands."""
    assert taken(plan(a_call(), two(), CLEAR, 1000.0)) == ["cheap", "dear"]
    assert taken(plan(a_call(), two(), (Sight(mean=20.0), Sight()), 1000.0))[0] == "dear", (
        "20 s of the machine cost more than the paid call"
    )


def test_fastest_first():
    """The objective `fastest` ignores cost, except between equally quick ones."""
    route = two(seconds_worth=None)
    assert taken(plan(a_call(), route, (Sight(mean=2.0), Sight(mean=1.0)), 1000.0))[0] == "dear"
    assert taken(plan(a_call(), route, CLEAR, 1000.0))[0] == "cheap"


def test_ties_go_to_the_quicker():
    """Of two that cost the same the quicker is tried first."""
    free = [a_backend(n, clock=CLOCK, price=Price()) for n in "ab"]
    chosen = plan(a_call(), a_route(*free), (Sight(mean=2.0), Sight(mean=1.0)), 1000.0)
    assert taken(chosen) == ["b", "a"]


def test_balanced_weighs_seconds_against_dollars():
    """What a second is worth decides how much more a quicker backend may cost."""
    sights = (Sight(mean=1.0), Sight(mean=0.5))
    dollars = 150_000 * 100 + 600_000 * 50 - OWN.machine_second
    for worth, first in ((2 * dollars - 10**6, "cheap"), (2 * dollars + 10**6, "dear")):
        chosen = plan(a_call(), two(seconds_worth=worth), sights, 1000.0)
        assert taken(chosen)[0] == first
        assert chosen.objective == "balanced"


def test_a_broken_promise_comes_last():
    """A cheaper backend that would break the promise is tried after one that keeps it, but is tried."""
    route = two(promise=Promise(answer=(0.95, 1.0)))
    chosen = plan(a_call(), route, (Sight(promised=1.2), Sight(promised=0.9)), 1000.0)
    assert taken(chosen) == ["dear", "cheap"]
    assert [c.late for c in chosen.candidates] == [True, False]


def test_the_queue_counts_against_a_promise():
    """What waits before a call stretches its seconds, its promise and its deadline."""
    route = two(promise=Promise(answer=(0.95, 1.0)))
    sights = (Sight(mean=0.6, least=0.6, promised=0.6, stretch=2.0), Sight())
    assert plan(a_call(), route, sights, 1000.0).candidates[0].late
    assert plan(a_call(), route, sights, 1000.0).candidates[0].seconds == pytest.approx(1.2)
    late = plan(a_call(deadline=1001.0), route, sights, 1000.0).candidates[0]
    assert late.left == "deadline"
    assert "1.20 s" in late.why
    assert "1.00 s" in late.why


@given(
    least=st.floats(0.01, 2.0),
    stretch=st.floats(1.0, 20.0),
    limit=st.floats(0.1, 5.0),
    level=st.sampled_from(list(PATIENCE)),
    stream=st.booleans(),
)
def test_a_stream_is_not_sent_where_it_would_begin_too_late(least, stretch, limit, level, stream):
    """A queue that outlasts the limit for first events is left; who may be shed leaves it shorter."""
    bare = a_backend("a", clock=CLOCK, price=OWN)
    route = a_route(msgspec.structs.replace(bare, first_event=limit))
    sight = Sight(stretch=stretch, mean=least, least=least)
    call = a_call(stream=stream, criticality=level, deadline=1000.0 + 60.0)
    queue, share = least * (stretch - 1.0), PATIENCE[level]
    bounded = stream or share < 1.0
    full = bounded and queue > 0.0 and queue > share * (limit - least)
    chosen = plan(call, route, (sight,), 1000.0)
    assert chosen.candidates[0].left == ("full" if full else "")


def test_a_guess_puts_a_backend_last_but_never_out():
    """What was never measured at this size may not refuse a call: it is tried after the others."""
    guessed = (Sight(mean=90.0, least=1.0), Sight())
    chosen = plan(a_call(deadline=1030.0), two(), guessed, 1000.0)
    assert [c.left for c in chosen.candidates] == ["", ""]
    assert chosen.candidates[0].late
    assert len(taken(chosen)) == 2


def test_a_preferred_backend_goes_first():
    """Preference comes before cost, but not before the promise."""
    rules = lambda call: (Effect("r", prefer=frozenset({"dear"})),)  # noqa: E731
    route = two(rules=rules, promise=Promise(answer=(0.95, 1.0)))
    assert taken(plan(a_call(), route, CLEAR, 1000.0)) == ["dear", "cheap"]
    late = (Sight(), Sight(promised=2.0))
    assert taken(plan(a_call(), route, late, 1000.0)) == ["cheap", "dear"]
    assert plan(a_call(), route, CLEAR, 1000.0).rules == ("r",)


def test_the_first_reason_is_told():
    """Reasons are found in the documented order, each with words that say what to do about it."""
    everything = a_backend("x", clock=CLOCK, unfit="no tools", context=50)
    route = a_route(
        everything, rules=lambda call: (Effect("key.team == 'b'", exclude=frozenset("x")),)
    )
    tagged = a_call(tags=frozenset({"local_only"}), max_cost=0)
    blocked = (Sight(blocked="breaker open", mean=99.0),)

    def only(call: Any, route: Route) -> tuple[str, str]:
        found = plan(call, route, blocked, 1000.0).candidates[0]
        return found.left, found.why

    assert only(tagged, route) == ("rule", "the call is tagged local_only")
    call = a_call(max_cost=0)
    assert only(call, route) == ("rule", "excluded when key.team == 'b'")
    assert only(call, a_route(everything)) == ("unfit", "no tools")
    small = a_backend("x", clock=CLOCK, context=50)
    assert only(call, a_route(small))[0] == "context"
    roomy = a_route(a_backend("x", clock=CLOCK))
    assert only(call, roomy)[0] == "cost"
    assert only(a_call(), roomy) == ("breaker open", "breaker open")


def test_a_limit_of_the_call_replaces_the_routes():
    """The call's own max_cost counts when it has one, else the route's."""
    route = two(promise=Promise(max_cost=10))
    assert taken(plan(a_call(), route, CLEAR, 1000.0)) == ["cheap"]
    assert taken(plan(a_call(max_cost=10**12), route, CLEAR, 1000.0)) == ["cheap", "dear"]
    exact = PAID.quote(a_call(), 30.0)
    assert len(taken(plan(a_call(max_cost=exact), two(), CLEAR, 1000.0))) == 2
    assert len(taken(plan(a_call(max_cost=exact - 1), two(), CLEAR, 1000.0))) == 1


def test_a_context_is_filled_by_the_prompt_and_one_token():
    """A prompt that leaves no room for one token of an answer does not fit."""
    for tokens, fits in ((999, True), (1000, False)):
        backend = a_backend("a", clock=CLOCK, context=1000)
        chosen = plan(a_call(input_tokens=tokens), a_route(backend), (Sight(),), 1000.0)
        assert bool(chosen.attempts) == fits


@given(
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 5.0),
    st.one_of(st.floats(0.0, 8.0), st.just(float("inf"))),
)
def test_who_fails_steps_back_while_nobody_may_rescue_its_calls(first, second, risked, spare):
    """Only then, only behind one that fails less, and the record says why."""
    sights = (Sight(failing=first, risked=risked), Sight(failing=second, spare=spare))
    chosen = plan(a_call(), two(), sights, 1000.0)
    back = first > 0.0 and first > second and spare < 1.0 + risked
    assert taken(chosen) == (["dear", "cheap"] if back else ["cheap", "dear"])
    assert (chosen.candidates[0].why == AILING) is back
    assert not chosen.candidates[0].left


@given(st.lists(st.sampled_from(["", SILENT, "throttled"]), min_size=2, max_size=2))
def test_who_is_silent_is_asked_when_nobody_else_is_left(blocked):
    """A slow backend looks silent too, so it is better asked than a call refused."""
    chosen = plan(a_call(), two(), tuple(Sight(blocked=b) for b in blocked), 1000.0)
    free = [name for name, b in zip(("cheap", "dear"), blocked, strict=True) if not b]
    silent = [name for name, b in zip(("cheap", "dear"), blocked, strict=True) if b == SILENT]
    assert taken(chosen) == (free or silent)
    left = {c.backend for c in chosen.candidates if c.left}
    assert left == {"cheap", "dear"} - set(free or silent)


# What is seen.


def test_looking_changes_nothing_and_sees_every_gate():
    """Each gate that would refuse is seen with its reason and its moment; a free backend is clear."""
    clock = FakeClock()
    free, broken, paused, down, full = backends = [
        a_backend(n, clock=clock, in_flight=1) for n in ("free", "broken", "paused", "down", "full")
    ]
    for _ in range(5):
        broken.gates.breaker.acquire(a_call())(Outcome(FAULT, 0.1))
    paused.gates.pause.acquire(a_call())(Outcome(THROTTLED, 0.1, retry_after=7.0))
    down.gates.health.tell(up=False)
    full.gates.in_flight.acquire(a_call())
    route = a_route(*backends)

    seen = look(a_call(), route, clock())

    assert [s.blocked for s in seen] == ["", "breaker open", "throttled", "down", "full"]
    assert [s.retry_after for s in seen] == [0.0, pytest.approx(5.0, rel=0.2), 7.0, 1.0, 1.0]
    assert look(a_call(), route, clock()) == seen
    assert full.gates.in_flight.count == 1
    assert free.gates.meter.in_flight == 0


def test_a_measured_backend_is_seen_with_its_seconds():
    """Mean and quantile come from the meter of the size of the call; the promise chooses the quantile."""
    clock = FakeClock()
    backend = a_backend("a", clock=clock)
    for seconds in [*[1.0] * 18, 9.0, 9.0]:
        backend.gates.meter.acquire(a_call())(Outcome(OK, seconds, first=0.25))
    (plain,) = look(a_call(), a_route(backend), clock())
    assert plain.promised == plain.mean > 1.0
    promised = a_route(backend, promise=Promise(first=(0.5, 1.0), answer=(0.99, 1.0)))
    (answer,) = look(a_call(), promised, clock())
    assert answer.promised == pytest.approx(9.0, rel=0.16)
    (first,) = look(a_call(stream=True), promised, clock())
    assert first.promised == pytest.approx(0.25, rel=0.16)
