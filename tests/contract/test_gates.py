"""Laws that every gate obeys, whatever its rule. A new module of `router.gates` joins by a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import router.gates
from router.core import verdict as v
from router.core.call import Call, Key, Outcome, Usage
from router.core.errors import Rejected, RouterError
from router.core.task import SpeakRequest
from router.gates.admission import Admission, Process
from router.gates.breaker import Breaker
from router.gates.forecast import Forecast
from router.gates.health import Health
from router.gates.in_flight import InFlight
from router.gates.key import Caller, Keys, Limits
from router.gates.meter import Meter, size_class
from router.gates.pause import Pause
from router.gates.rate import Rates
from router.gates.retries import Retries
from tests.fakes import FakeClock, a_call

Make = Callable[[FakeClock], Any]

# Fresh, and in the states in which a gate may refuse.
GATES: dict[str, dict[str, Make]] = {
    "admission": {
        "process": Process,
        "process_two": lambda now: Process(now, floor=1, ceiling=2),
        "process_none": lambda now: Process(now, ceiling=0),
        "backend": lambda now: Admission(now, ceiling=8, concurrency=2),
        "backend_none": lambda now: Admission(now, ceiling=0, concurrency=2),
        "cut": lambda now: _after(Admission(now, ceiling=4), v.THROTTLED),
    },
    "breaker": {
        "closed": lambda now: Breaker(now, in_a_row=3, least=5, cooldown=1.0, cooldown_max=8.0),
        "two_probes": lambda now: Breaker(now, in_a_row=1, cooldown=1.0, probes=2),
        "open": lambda now: _after(Breaker(now, in_a_row=1), v.FAULT),
        "half_open": lambda now: _later(
            _after(Breaker(now, in_a_row=1, probes=1), v.FAULT), now, 7.0
        ),
    },
    "forecast": {"fresh": lambda now: Forecast()},
    "health": {"fresh": Health, "down": lambda now: _told(Health(now), up=False)},
    "in_flight": {"two": lambda now: InFlight(2), "none": lambda now: InFlight(0)},
    "key": {
        "open": lambda now: Keys({}),
        "one_route": lambda now: Keys({"0" * 64: Key("k", routes=frozenset({"embed"}))}),
        "guarded": lambda now: Keys({}, guarded=True),
    },
    "meter": {"fresh": Meter, "small": lambda now: Meter(now, concurrency=1)},
    "pause": {"fresh": Pause, "paused": lambda now: _after(Pause(now), v.THROTTLED)},
    "rate": {"fresh": Rates, "spent": lambda now: _after(Rates(now), v.OK, LIMITED)},
    "retries": {
        "fresh": Retries,
        "spent": lambda now: Retries(now, per_second=0.0, share=0.0),
    },
}


LIMITED = Caller("limited", limits=Limits(requests=2, units=400))
FREE = Key("anonymous")


def _after(gate: Any, verdict: v.Verdict, key: Key = FREE) -> Any:
    gate.acquire(a_call(key=key))(Outcome(verdict, 0.1))
    return gate


def _later(gate: Any, now: FakeClock, seconds: float) -> Any:
    now.pass_(seconds)
    return gate


def _told(gate: Health, *, up: bool) -> Health:
    gate.tell(up=up)
    return gate


VARIANTS = [
    pytest.param(make, id=f"{name}-{variant}")
    for name, variants in GATES.items()
    for variant, make in variants.items()
]
SPEAK = SpeakRequest(text="hello", voice="alloy")
CALLS = st.sampled_from(
    [
        a_call(),
        a_call(input_tokens=0, output_limit=0),
        a_call(key=None),
        a_call(key=Key("k", routes=frozenset({"embed"}))),
        a_call(key=LIMITED),
        a_call(criticality="critical_plus"),
        a_call(criticality="sheddable"),
        a_call(key=Caller("units", limits=Limits(units=10**6)), task="speak", request=SPEAK),
        a_call(key=Caller("no-chat", tasks=frozenset({"embed"}))),
    ]
)
COUNT = st.integers(0, 10**9)
OUTCOMES = st.builds(
    Outcome,
    verdict=st.sampled_from(v.ALL),
    seconds=st.floats(0, 1e7),
    usage=st.none() | st.builds(Usage, COUNT, COUNT, COUNT),
    first=st.none() | st.floats(0, 1e7),
    retry_after=st.none() | st.floats(0, allow_nan=False),
)


def state(gate: Any) -> dict[str, Any]:
    """Everything the gate remembers. `ready` first: reading the time may book what time brought."""
    gate.ready()
    return {k: deepcopy(x) for k, x in vars(gate).items() if not isinstance(x, FakeClock)}


def acquire(gate: Any, call: Call) -> Any:
    """The permit, or None when the gate says no."""
    try:
        return gate.acquire(call)
    except RouterError:
        return None


def test_every_gate_has_a_row():
    """Each module of router.gates is in the table of this file, and each row is a module."""
    # Silence ends with the first event, not with the reply: it is asked in the walk.
    assert set(GATES) | {"silence"} == {m.name for m in iter_modules(router.gates.__path__)}


@pytest.mark.parametrize("name", GATES)
def test_a_gate_has_both_halves(name):
    """Each module holds a class with `acquire` and `ready`, and the table's factories make it."""
    module = import_module(f"router.gates.{name}")
    gates = {
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and hasattr(cls, "acquire")
    }
    assert gates
    for make in GATES[name].values():
        gate = make(FakeClock())
        assert type(gate) in gates
        assert isinstance(gate.ready(), bool)


@pytest.mark.parametrize("make", VARIANTS)
@settings(max_examples=12)
@given(calls=st.lists(CALLS, max_size=4), call=CALLS)
def test_a_rejected_call_leaves_no_trace(make, calls, call):
    """A permit that comes back as REJECTED leaves state and readiness as they were."""
    gate = make(FakeClock())
    for earlier in calls:
        acquire(gate, earlier)
    before, ready = state(gate), gate.ready()
    permit = acquire(gate, call)
    if permit is not None:
        permit(Outcome(v.REJECTED, 0.0))
    assert gate.ready() == ready
    assert _without_load(gate, state(gate)) == _without_load(gate, before)


def _without_load(gate: Any, found: dict[str, Any]) -> dict[str, Any]:
    # The mean of calls together is a measurement of the load, which the refused call was part of.
    return {k: x for k, x in found.items() if not (isinstance(gate, Meter) and k == "shared")}


@pytest.mark.parametrize("make", VARIANTS)
@settings(max_examples=12)
@given(calls=st.lists(CALLS, max_size=4), call=CALLS)
def test_a_refusal_changes_nothing(make, calls, call):
    """An acquire that raises changes no state at all."""
    gate = make(FakeClock())
    for earlier in calls:
        acquire(gate, earlier)
    before = state(gate)
    if acquire(gate, call) is None:
        assert state(gate) == before


@pytest.mark.parametrize("make", VARIANTS)
@settings(max_examples=12)
@given(calls=st.lists(st.tuples(CALLS, OUTCOMES, st.floats(0, 100)), max_size=12))
def test_release_never_raises(make, calls):
    """Whatever the verdict, seconds and usage, a release returns None and raises nothing."""
    now = FakeClock()
    gate = make(now)
    for call, outcome, seconds in calls:
        permit = acquire(gate, call)
        now.pass_(seconds)
        if permit is not None:
            assert permit(outcome) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "release", "release", "wait"]),
        CALLS,
        OUTCOMES,
        st.integers(0, 20),
        st.floats(0, 30),
    ),
    max_size=16,
)


def counts(gate: Any) -> list[float]:
    """What a gate counts as taken now."""
    names = ("count", "in_flight", "_probing", "_passed", "_failures", "_tokens")
    return [getattr(gate, n) for n in names if hasattr(gate, n)]


@pytest.mark.parametrize("make", VARIANTS)
@settings(max_examples=12)
@given(steps=STEPS)
def test_counts_return_to_rest(make, steps):
    """No order of permits and releases drives a count below 0; when all are back, none is held."""
    now = FakeClock()
    gate = make(now)
    held: list[Any] = []
    for what, call, outcome, index, seconds in steps:
        if what == "acquire":
            permit = acquire(gate, call)
            held += [permit] if permit is not None else []
        elif what == "release" and held:
            held.pop(index % len(held))(outcome)
        else:
            now.pass_(seconds)
        assert all(n >= 0 for n in counts(gate))
    for permit in held:
        permit(Outcome(v.CANCELLED, 0.1))
    assert getattr(gate, "count", 0) == getattr(gate, "in_flight", 0) == 0
    assert getattr(gate, "_probing", 0) == 0


@pytest.mark.parametrize("make", VARIANTS)
@settings(max_examples=12)
@given(steps=STEPS)
def test_ready_keeps_its_word(make, steps):
    """A gate that is ready lets a call through at that moment; one that is not refuses it."""
    now = FakeClock()
    gate = make(now)
    held: list[Any] = []
    for what, _, outcome, index, seconds in steps:
        if what == "acquire":
            ready, permit = gate.ready(), acquire(gate, a_call())
            assert ready == (permit is not None)
            held += [permit] if permit is not None else []
        elif what == "release" and held:
            held.pop(index % len(held))(outcome)
        else:
            now.pass_(seconds)


REFUSING = {
    "admission-process": GATES["admission"]["process_none"],
    "admission-backend": GATES["admission"]["backend_none"],
    "breaker-open": GATES["breaker"]["open"],
    "health-down": GATES["health"]["down"],
    "in_flight-none": GATES["in_flight"]["none"],
    "pause-paused": GATES["pause"]["paused"],
    "retries-spent": GATES["retries"]["spent"],
}


@pytest.mark.parametrize("make", REFUSING.values(), ids=REFUSING)
def test_a_refusal_names_its_reason(make):
    """What a gate raises is its own kind of Rejected with a message: nothing was sent."""
    with pytest.raises(Rejected) as caught:
        make(FakeClock()).acquire(a_call())
    assert caught.value.verdict is v.REJECTED
    assert str(caught.value)
    assert type(caught.value) is not Rejected


@pytest.mark.parametrize(
    ("key", "status"), [(None, 401), (Key("k", routes=frozenset({"embed"})), 403)]
)
def test_a_stranger_is_told_why(key, status):
    """An unknown key is 401, a known one on a foreign route 403 with the routes it may use."""
    keys = Keys({"0" * 64: Key("k")})
    with pytest.raises(RouterError) as caught:
        keys.acquire(a_call(key=key))
    assert caught.value.status == status
    assert "Bearer" in str(caught.value) or "embed" in str(caught.value)


# The breaker's machine.


def simple(now: FakeClock, **changes: Any) -> Breaker:
    """One probe, a second of cooldown, no jitter."""
    return Breaker(now, **{"cooldown": 1.0, "probes": 1, "draw": lambda: 0.5} | changes)


def trip(breaker: Breaker, times: int = 5, verdict: v.Verdict = v.FAULT) -> Breaker:
    for _ in range(times):
        breaker.acquire(a_call())(Outcome(verdict, 0.1))
    return breaker


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.breaker == "failure"], ids=lambda x: x.name
)
def test_failures_in_a_row_open_a_breaker(verdict):
    """The last of `in_a_row` failures opens it, not the one before; it says why."""
    breaker = trip(simple(FakeClock(), in_a_row=5), 4, verdict)
    assert (breaker.state, breaker.ready()) == ("closed", True)
    trip(breaker, 1, verdict)
    assert (breaker.state, breaker.ready()) == ("open", False)
    assert verdict.name in breaker.why
    assert breaker.retry_after == 1.0


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.breaker == "ignore"], ids=lambda x: x.name
)
def test_what_is_no_failure_opens_nothing(verdict):
    """Verdicts that count neither way neither open a breaker nor end a row of failures."""
    breaker = trip(simple(FakeClock(), in_a_row=5, least=5), 100, verdict)
    assert breaker.state == "closed"
    trip(breaker, 4)
    trip(breaker, 10, verdict)
    trip(breaker, 1)
    assert breaker.state == "open"


def test_a_success_ends_a_row():
    """Failures that are not in a row do not count as a row."""
    breaker = simple(FakeClock(), in_a_row=3, least=1000)
    for _ in range(20):
        trip(breaker, 2)
        trip(breaker, 1, v.OK)
    assert breaker.state == "closed"


def test_half_of_a_window_opens_a_breaker():
    """Half of at least `least` calls within the window opens it; calls older than it do not count."""
    now = FakeClock()
    breaker = simple(now, in_a_row=100, least=20, share=0.5, window=20.0)
    for _ in range(9):
        trip(breaker, 1)
        trip(breaker, 1, v.OK)
    assert breaker.state == "closed"
    now.pass_(25.0)
    trip(breaker, 9)
    assert breaker.state == "closed", "18 old ones are forgotten, 9 are too few"
    trip(breaker, 10, v.OK)
    trip(breaker, 1)
    assert breaker.state == "open", "10 of 20"


def test_a_probe_closes_or_doubles():
    """After its cooldown one probe goes; failing doubles the cooldown up to its ceiling, success closes."""
    now = FakeClock()
    breaker = trip(simple(now, cooldown=1.0, cooldown_max=5.0))
    for cooldown in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert breaker.state == "open"
        assert breaker.retry_after == pytest.approx(cooldown)
        now.pass_(cooldown - 0.01)
        assert not breaker.ready()
        now.pass_(0.01)
        assert (breaker.state, breaker.ready()) == ("half-open", True)
        probe = breaker.acquire(a_call())
        assert not breaker.ready(), "one probe at a time"
        probe(Outcome(v.LOST, 0.1))
    now.pass_(5.0)
    breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert (breaker.state, breaker.ready(), breaker.retry_after) == ("closed", True, 0.0)
    trip(breaker, 5)
    assert breaker.retry_after == pytest.approx(1.0), "the next trip starts from the beginning"


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.breaker == "ignore"], ids=lambda x: x.name
)
def test_a_probe_that_says_nothing_gives_its_slot_back(verdict):
    """A cancelled, throttled or refused probe leaves the breaker half-open, with its slot free."""
    now = FakeClock()
    breaker = trip(simple(now))
    now.pass_(1.0)
    breaker.acquire(a_call())(Outcome(verdict, 0.1))
    assert (breaker.state, breaker.ready()) == ("half-open", True)
    breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"


@pytest.mark.parametrize("late", [v.OK, v.FAULT])
def test_calls_from_before_the_trip_say_nothing(late):
    """A call that began before the trip neither closes the breaker nor prolongs its cooldown."""
    now = FakeClock()
    breaker = simple(now)
    old = breaker.acquire(a_call())
    trip(breaker)
    now.pass_(0.5)
    old(Outcome(late, 0.1))
    assert breaker.state == "open"
    assert breaker.retry_after == 0.5


@pytest.mark.parametrize("start", [0.0, 1000.0])
def test_a_closed_breaker_starts_from_nothing(start):
    """What was counted before a trip does not count after it, also right after the machine's boot."""
    now = FakeClock(start)
    breaker = simple(now, in_a_row=100, least=10, share=0.5, window=20.0)
    for _ in range(5):
        now.pass_(2.0)
        trip(breaker, 2)
    assert breaker.state == "open"
    now.pass_(1.0)
    breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    trip(breaker, 3)
    assert breaker.state == "closed"


def test_several_probes():
    """With two probes, two may be out, two successes close, and one failure opens once."""
    now = FakeClock()
    breaker = trip(simple(now, in_a_row=1, probes=2), 1)
    now.pass_(1.0)
    first, second = breaker.acquire(a_call()), breaker.acquire(a_call())
    assert not breaker.ready()
    first(Outcome(v.FAULT, 0.1))
    second(Outcome(v.FAULT, 0.1))
    assert breaker.retry_after == 2.0
    now.pass_(2.0)
    for _ in range(2):
        assert breaker.state == "half-open"
        breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"


@pytest.mark.parametrize("verdict", v.ALL, ids=lambda x: x.name)
def test_a_probe_of_an_older_trip_says_nothing(verdict):
    """A probe that ends after its trip was over neither reopens the breaker nor moves the next trip."""
    now = FakeClock()
    breaker = trip(simple(now, in_a_row=1, probes=2), 1)
    now.pass_(1.0)
    first, second = breaker.acquire(a_call()), breaker.acquire(a_call())
    first(Outcome(v.OK, 0.1))
    early = breaker.acquire(a_call())
    second(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"
    early(Outcome(verdict, 0.1))
    assert breaker.state == "closed"

    trip(breaker, 1)
    now.pass_(1.0)
    late, failed = breaker.acquire(a_call()), breaker.acquire(a_call())
    failed(Outcome(v.FAULT, 0.1))
    now.pass_(2.0)
    fresh = [breaker.acquire(a_call()), breaker.acquire(a_call())]
    late(Outcome(verdict, 0.1))
    assert not breaker.ready(), "both slots are still taken"
    assert breaker.state == "half-open"
    for probe in fresh:
        probe(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"


def test_the_defaults_of_a_breaker():
    """It stays open for about 5 s, doubling to at most 60, and three good probes close it."""
    now = FakeClock()
    breaker = trip(Breaker(now, draw=lambda: 0.5))
    for cooldown in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        assert breaker.retry_after == pytest.approx(min(cooldown, 20.0))
        now.pass_(cooldown - 0.01)
        assert breaker.state == "open"
        now.pass_(0.01)
        breaker.acquire(a_call())(Outcome(v.FAULT, 0.1))
    now.pass_(60.0)
    for _ in range(3):
        assert breaker.state == "half-open"
        breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"


@given(st.floats(0, 1))
def test_cooldowns_are_spread(drawn):
    """Breakers that tripped together probe at different moments, a fifth around the cooldown."""
    breaker = trip(Breaker(FakeClock(), cooldown=10.0, draw=lambda: drawn))
    assert breaker.retry_after == pytest.approx(8.0 + 4.0 * drawn)


def slow_ones(breaker: Breaker, count: int, seconds: float, first: float | None = None) -> None:
    for _ in range(count):
        breaker.acquire(a_call())(Outcome(v.OK, seconds, first=first))


def test_slow_answers_open_a_breaker():
    """Half of the calls too slow open it, and it says so; slow ones in a row alone do not."""
    breaker = simple(FakeClock(), slow=2.0, least=20)
    slow_ones(breaker, 19, 3.0)
    assert breaker.state == "closed"
    slow_ones(breaker, 1, 3.0)
    assert breaker.state == "open"
    assert "too slow" in breaker.why


def test_a_stream_is_slow_by_its_first_event():
    """A long stream that began in time is not slow; one that began late is."""
    breaker = simple(FakeClock(), slow=2.0, least=5)
    slow_ones(breaker, 20, 60.0, first=0.5)
    assert breaker.state == "closed"
    slow_ones(breaker, 20, 3.0, first=2.5)
    assert breaker.state == "open"


def test_a_slow_probe_opens_again():
    """A probe that answers, but too slowly, does not close a breaker."""
    now = FakeClock()
    breaker = trip(simple(now, slow=2.0))
    now.pass_(1.0)
    slow_ones(breaker, 1, 3.0)
    assert (breaker.state, breaker.why) == ("open", "probe was too slow")


# The meter.


def test_a_slow_backend_is_forgiven_with_time():
    """Without traffic the predictions fall towards zero, so that no backend is left out for ever."""
    now = FakeClock()
    meter = Meter(now, decay=30.0)
    meter.acquire(a_call())(Outcome(v.LOST, 60.0))
    size = 9
    assert meter.mean(size, now()) == pytest.approx(60.0)
    assert meter.quantile(size, 0.95, now()) == pytest.approx(60.0, rel=0.15)
    now.pass_(300.0)
    assert meter.mean(size, now()) < 0.01
    assert meter.quantile(size, 0.95, now()) < 0.01


@given(
    st.sampled_from(
        [Usage(characters=9), Usage(seconds=4.4), Usage(credits=3), Usage(features=(("text", 1),))]
    ),
    st.floats(0.001, 100.0),
    st.integers(1, 10_000),
)
def test_tasks_that_count_no_tokens_predict_what_they_took(usage, seconds, tokens):
    """The same call again is expected to take as long: nothing is stretched."""
    now = FakeClock()
    meter = Meter(now)
    call = a_call(task="transcribe", input_tokens=tokens, output_limit=0)
    meter.acquire(call)(Outcome(v.OK, seconds, usage))
    assert meter.mean(size_class(tokens, 0), now()) == pytest.approx(seconds)


@given(
    st.lists(st.floats(0.001, 100.0), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99])
)
def test_a_quantile_lies_among_what_was_seen(seconds, q):
    """A quantile is within 15% of some answer that was seen, and never above the slowest."""
    now = FakeClock()
    meter = Meter(now)
    for s in seconds:
        meter.acquire(a_call())(Outcome(v.OK, s))
    found = meter.quantile(9, q, now())
    wanted = sorted(seconds)[max(0, -(-int(len(seconds) * q * 100) // 100) - 1)]
    assert wanted * 0.86 <= found * 1.0001
    assert found <= max(seconds) * 1.15


@pytest.mark.parametrize(
    "verdict",
    [x for x in v.ALL if x not in {v.OK, v.LOST, v.LATE, v.CANCELLED}],
    ids=lambda x: x.name,
)
def test_a_refusal_is_no_measure_of_speed(verdict):
    """Only answers, and waits for answers that never came, are measured."""
    meter = Meter(FakeClock())
    meter.acquire(a_call())(Outcome(verdict, 5.0))
    assert meter.mean(9, 1000.0) == 0.0
    assert meter.in_flight == 0


@pytest.mark.parametrize("verdict", [v.LATE, v.CANCELLED], ids=lambda x: x.name)
def test_a_call_that_was_left_takes_at_least_that_long(verdict):
    """One that was left after longer than such calls take is news; one left sooner says nothing."""
    now = FakeClock()
    meter = Meter(now)
    meter.acquire(a_call())(Outcome(v.OK, 1.0, Usage(100, 50)))
    size = size_class(100, 50)
    meter.acquire(a_call())(Outcome(verdict, 0.5))
    assert meter.mean(size, now()) == pytest.approx(1.0)
    meter.acquire(a_call())(Outcome(verdict, 4.0))
    assert meter.mean(size, now()) == pytest.approx(4.0)


def test_waiting_in_a_queue_is_not_service_time():
    """Calls over the concurrency share its speed: the service time is kept, the wait comes from now's queue."""
    now = FakeClock()
    meter = Meter(now, concurrency=1)
    permits = [meter.acquire(a_call()) for _ in range(4)]
    assert meter.wait() == 5.0
    permits[3](Outcome(v.OK, 4.0))
    assert meter.mean(9, now()) == pytest.approx(1.0)
    for permit in permits[:3]:
        permit(Outcome(v.CANCELLED, 0.0))
    assert meter.wait() == 1.0


def test_an_unknown_size_scales_the_nearest():
    """A size nobody has used takes the nearest one's figures by the work; without any it is 0."""
    now = FakeClock()
    meter = Meter(now)
    assert meter.mean(3, now()) == 0.0
    meter.acquire(a_call(input_tokens=1, output_limit=0))(Outcome(v.OK, 1.0))
    meter.acquire(a_call(input_tokens=5000, output_limit=0))(Outcome(v.OK, 9.0))
    assert meter.mean(1, now()) == pytest.approx(1.0)
    assert meter.mean(2, now()) == pytest.approx(2.0)
    assert meter.mean(12, now()) == pytest.approx(4.5)
    assert meter.mean(15, now()) == pytest.approx(36.0)


def test_the_first_event_of_a_long_answer_is_not_later():
    """To the first event a bigger size is predicted no slower, a smaller one by its work."""
    now = FakeClock()
    meter = Meter(now)
    meter.acquire(a_call())(Outcome(v.OK, 8.0, first=1.0))
    assert meter.quantile(9, 0.5, now(), first=True) == pytest.approx(1.0, rel=0.15)
    assert meter.quantile(12, 0.5, now(), first=True) == pytest.approx(1.0, rel=0.15)
    assert meter.quantile(8, 0.5, now(), first=True) == pytest.approx(0.5, rel=0.15)


def test_a_size_is_that_of_the_real_usage():
    """An answer is filed under what it used, not under what it might have."""
    now = FakeClock()
    meter = Meter(now)
    meter.acquire(a_call(output_limit=4000))(Outcome(v.OK, 1.0, Usage(100, 10)))
    assert meter.mean(8, now()) == pytest.approx(1.0)


def test_a_long_cooldown_lets_one_call_alone_try():
    """While open one call at a time may go, every `probe_every`; good: half-open, bad: as it was."""
    now = FakeClock()
    breaker = simple(now, cooldown=50.0, cooldown_max=100.0, probes=2, in_a_row=1)
    trip(breaker, 1)
    now.pass_(19.9)
    assert not breaker.ready()
    now.pass_(0.1)
    alone = breaker.acquire(a_call())
    assert not breaker.ready(), "alone"
    alone(Outcome(v.FAULT, 0.1))
    assert (breaker.state, breaker.ready(), breaker.retry_after) == ("open", False, 20.0)
    now.pass_(20.0)
    breaker.acquire(a_call())(Outcome(v.THROTTLED, 0.1))
    assert breaker.ready(), "it said nothing: the next may try"
    breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert (breaker.state, breaker.ready()) == ("half-open", True)
    breaker.acquire(a_call())(Outcome(v.OK, 0.1))
    assert breaker.state == "closed"
    trip(breaker, 1)
    now.pass_(45.0)
    late = breaker.acquire(a_call())
    now.pass_(5.0)
    late(Outcome(v.FAULT, 0.1))
    assert (breaker.state, breaker.retry_after) == ("open", 20.0), "its cooldown had ended: doubled"
    now.pass_(99.0)
    assert breaker.state == "open"


@given(
    lasts=st.floats(0.1, 900.0),
    gap=st.floats(0.05, 2.0),
    takes=st.floats(0.01, 1.0),
    draws=st.lists(st.floats(0, 1), min_size=1, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_a_fault_of_any_length_is_over_soon(lasts, gap, takes, draws):
    """After it: closed within `probe_every` x 1.2, one call under way and three; few calls in it."""
    now, turn = FakeClock(), iter(draws * 200)
    breaker = Breaker(now, draw=lambda: next(turn))
    began, failed = now(), 0
    while now() - began < lasts:
        if (permit := acquire(breaker, a_call())) is None:
            now.pass_(gap)
            continue
        now.pass_(takes)
        permit(Outcome(v.FAULT, takes))
        failed += 1
    ended = now()
    # One call alone every 16 s at most, and one at the end of each cooldown, of 48 s soon.
    assert failed <= 5 + 5 + lasts / 16.0 + lasts / 48.0
    while breaker.state != "closed":
        now.pass_(gap)
        if (permit := acquire(breaker, a_call())) is not None:
            now.pass_(takes)
            permit(Outcome(v.OK, takes))
    assert now() - ended <= 24.0 + 4 * (gap + takes)


# Extra attempts.


@given(
    moves=st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 60), st.integers(0, 40), st.booleans()),
        max_size=30,
    )
)
def test_in_any_stretch_of_time_extra_attempts_are_bounded(moves):
    """From any moment to any later one: <= 1 a second + 10 + a tenth of the calls of it and 60 s before."""
    now = FakeClock()
    retries = Retries(now)
    calls, extras = list[float](), list[float]()
    for seconds, many, tries, sent in moves:
        now.pass_(seconds)
        for _ in range(many):
            retries.deposit()
            calls.append(now())
        for _ in range(tries):
            if (permit := acquire(retries, a_call())) is not None:
                permit(Outcome(v.OK if sent else v.REJECTED, 0.0))
                if sent:
                    extras.append(now())
    for since in extras:
        for until in extras:
            if since <= until:
                found = sum(since <= at <= until for at in extras)
                earned = sum(since - 60.0 <= at <= until for at in calls)
                assert found <= 0.1 * earned + (until - since) + 10 + 1e-6


@given(
    share=st.floats(0, 1),
    per_second=st.floats(0, 5),
    steps=st.lists(
        st.tuples(st.sampled_from(["call", "extra", "wait"]), st.floats(0, 10)), max_size=80
    ),
)
def test_extra_attempts_stay_within_their_allowance(share, per_second, steps):
    """Extra attempts <= share x calls + per_second x t + the start, after any sequence."""
    now = FakeClock()
    retries = Retries(now, share=share, per_second=per_second)
    start = min(100.0, 10 * per_second)
    began, calls, extras = now(), 0, 0
    for what, seconds in steps:
        if what == "call":
            retries.deposit()
            calls += 1
        elif what == "extra" and acquire(retries, a_call()) is not None:
            extras += 1
        elif what == "wait":
            now.pass_(seconds)
        assert extras <= share * calls + per_second * (now() - began) + start + 1e-6


def test_an_idle_hour_saves_up_no_storm():
    """However long nothing fails, at most ten seconds' worth is saved up, or the ceiling."""
    now = FakeClock()
    retries = Retries(now)
    for _ in range(1000):
        retries.deposit()
    now.pass_(3600.0)
    permits = [acquire(retries, a_call()) for _ in range(50)]
    assert sum(p is not None for p in permits) == 10
    hedges = Retries(now, per_second=0.0, ceiling=5.0)
    for _ in range(1000):
        hedges.deposit()
    now.pass_(3600.0)
    permits = [acquire(hedges, a_call()) for _ in range(50)]
    assert sum(p is not None for p in permits) == 5


# Pauses and news of health.


def test_a_pause_lasts_as_long_as_was_asked():
    """A throttled answer that names its moment pauses until then; nothing else shortens it."""
    now = FakeClock()
    pause = Pause(now)
    first, second = pause.acquire(a_call()), pause.acquire(a_call())
    first(Outcome(v.THROTTLED, 0.1, retry_after=3.0))
    second(Outcome(v.THROTTLED, 0.1, retry_after=1.0))
    assert pause.retry_after == 3.0
    now.pass_(2.9)
    assert not pause.ready()
    now.pass_(0.11)
    assert pause.ready()


def test_a_pause_without_a_moment_doubles():
    """Without a named moment the pause doubles to its ceiling, and starts again after a success."""
    now = FakeClock()
    pause = Pause(now, default=0.1, ceiling=0.5)
    for expected in (0.1, 0.2, 0.4, 0.5, 0.5):
        pause.acquire(a_call())(Outcome(v.THROTTLED, 0.1))
        assert pause.retry_after == pytest.approx(expected)
        now.pass_(expected + 0.001)
    pause.acquire(a_call())(Outcome(v.OK, 0.1))
    pause.acquire(a_call())(Outcome(v.THROTTLED, 0.1))
    assert pause.retry_after == pytest.approx(0.1)


def test_old_news_is_no_news():
    """A backend that said it is down is left until the news is stale, or better news comes."""
    now = FakeClock()
    health = Health(now, stale=10.0)
    assert health.ready()
    health.tell(up=False, detail="loading")
    assert not health.ready()
    with pytest.raises(Rejected, match="loading"):
        health.acquire(a_call())
    now.pass_(10.1)
    assert health.ready()
    health.tell(up=False)
    health.tell(up=True, queued=3)
    assert health.ready()
    assert health.queued == 3
