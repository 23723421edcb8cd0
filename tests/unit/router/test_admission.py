"""How many are let in: the limit's laws, an overloaded backend, who is refused, who spills."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config import read
from router.core import verdict as v
from router.core.call import CRITICALITIES, Call, Criticality, Outcome, Usage
from router.core.errors import AttemptFailed, NoBackend, RouterError, Shed
from router.core.money import Price
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import TextResult
from router.gates.admission import FLOOR, SHARES, Admission, Process
from router.gates.meter import Meter
from router.layers.dispatch import dispatch
from router.plan import Plan, look, plan
from router.route import Promise, Route
from tests.fakes import FakeClock, a_backend, a_call, a_gates, a_route, play

ROOT = Path(__file__).parent.parent.parent.parent
SECONDS = st.floats(0.001, 100.0)
CHEAP = Price(machine_second=10_000_000)


def crowd(gate: Any, count: int, outcome: Outcome, now: FakeClock, every: float = 0.2) -> None:
    """*count* calls at once, which end one after another."""
    held = [gate.acquire(a_call(criticality="critical_plus")) for _ in range(count)]
    for release in held:
        now.pass_(every)
        release(outcome)


def taught(ceiling: int = 32, **settings: Any) -> tuple[Admission, FakeClock]:
    """A backend's gate that knows one second to be usual."""
    now = FakeClock()
    gate = Admission(now, ceiling=ceiling, **settings)
    for _ in range(10):
        crowd(gate, 4, Outcome(v.OK, 1.0), now)
    return gate, now


# The limit.


@given(
    ceiling=st.integers(1, 300),
    concurrency=st.integers(0, 40),
    steps=st.lists(
        st.tuples(st.sampled_from(v.ALL), SECONDS, st.integers(1, 40), st.floats(0, 30)),
        max_size=40,
    ),
)
def test_the_limit_stays_within_floor_and_ceiling(ceiling, concurrency, steps):
    """Whatever happens, concurrency (at least 1) <= limit <= ceiling, and no more are in flight."""
    now = FakeClock()
    gate = Admission(now, ceiling=ceiling, concurrency=concurrency)
    for verdict, seconds, count, every in steps:
        held = []
        for _ in range(count):
            if gate.room("critical_plus"):
                held.append(gate.acquire(a_call(criticality="critical_plus")))
        assert gate.count <= gate.limit
        for release in held:
            now.pass_(every)
            release(Outcome(verdict, seconds))
        assert min(ceiling, max(1, concurrency)) <= gate.limit <= ceiling
    assert gate.count == 0


@given(slower=st.floats(3.0, 50.0), used=st.integers(10, 32))
def test_a_slower_backend_gets_fewer_calls_and_the_ceiling_again(slower, used):
    """Inflated times shrink the limit, the usual ones let it grow back to the ceiling within 30 s."""
    gate, now = taught()
    assert gate.limit == 32
    limits = []
    for _ in range(12):
        crowd(gate, min(used, gate.limit), Outcome(v.OK, slower), now, 0.1)
        limits.append(gate.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] <= 14
    healed = now()
    while gate.limit < 32:
        crowd(gate, gate.limit, Outcome(v.OK, 1.0), now, 0.1)
        assert now() - healed < 30.0


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.limiter == "dropped"], ids=lambda x: x.name
)
def test_calls_that_are_dropped_cut_the_limit(verdict):
    """A queue that is full, a failure and an answer that never comes say that it is too much."""
    gate, now = taught()
    for _ in range(40):
        crowd(gate, min(20, gate.limit), Outcome(verdict, 0.1), now, 0.1)
    assert gate.limit == 1


def test_a_few_dropped_calls_among_many_cut_nothing():
    """One in a hundred that fails is no overload."""
    gate, now = taught(ceiling=100)
    for _ in range(20):
        held = [gate.acquire(a_call(criticality="critical_plus")) for _ in range(60)]
        for number, release in enumerate(held):
            now.pass_(0.02)
            release(Outcome(v.LOST if number == 30 else v.OK, 1.0))
    assert gate.limit > 60


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.limiter == "ignore"], ids=lambda x: x.name
)
def test_the_clients_own_endings_say_nothing(verdict):
    """Wrong requests and clients who leave do not move the limit, however long they took."""
    gate, now = taught()
    for _ in range(20):
        crowd(gate, 20, Outcome(verdict, 50.0), now)
    assert gate.limit == 32


def test_longer_requests_are_no_queue():
    """Requests of a hundred times the work and time leave the limit where it was."""
    gate, now = taught()
    for _ in range(30):
        crowd(gate, min(20, gate.limit), Outcome(v.OK, 1.0, Usage(100, 10)), now)
        crowd(gate, min(20, gate.limit), Outcome(v.OK, 100.0, Usage(100, 4000)), now)
    assert gate.limit == 32


def test_slow_readers_of_streams_are_no_queue():
    """A stream counts by its first event, not by how long its client read on."""
    gate, now = taught()
    for _ in range(5):
        crowd(gate, 20, Outcome(v.OK, 1.0, first=0.2), now)
    for _ in range(20):
        crowd(gate, 20, Outcome(v.OK, 300.0, first=0.2), now)
    assert gate.limit == 32
    for _ in range(20):
        crowd(gate, min(20, gate.limit), Outcome(v.OK, 300.0, first=2.0), now)
    assert gate.limit <= 14


def test_a_queue_that_was_chosen_is_no_slowness():
    """Where the concurrency is known, calls that waited behind others count without their wait."""
    gate, now = taught(concurrency=4)
    for _ in range(20):
        held = [gate.acquire(a_call()) for _ in range(20)]
        for beside, release in enumerate(held, 1):
            now.pass_(0.1)
            release(Outcome(v.OK, max(1.0, beside / 4)))
    assert gate.limit == 32


@pytest.mark.parametrize("idle", [60.0, 3600.0, 86_400.0])
def test_an_idle_night_poisons_nothing(idle):
    """After hours without calls, and a few quick lone ones, the usual load is no overload."""
    gate, now = taught(concurrency=8)
    for _ in range(20):
        now.pass_(idle / 20)
        crowd(gate, 1, Outcome(v.OK, 0.2), now)  # alone it is five times as quick
    for _ in range(20):
        crowd(gate, 8, Outcome(v.OK, 1.0), now)
    assert gate.limit == 32


def test_a_cold_first_call_is_no_overload():
    """One call that waits for a model to load costs no place."""
    gate, now = taught()
    now.pass_(3600.0)
    crowd(gate, 1, Outcome(v.OK, 60.0), now)
    crowd(gate, 20, Outcome(v.OK, 1.0), now)
    assert gate.limit == 32


def test_a_fault_that_lasted_is_not_the_new_usual():
    """After ten minutes of slow answers the old speed is the usual again within seconds."""
    gate, now = taught()
    began = now()
    while now() - began < 600.0:
        crowd(gate, min(8, gate.limit), Outcome(v.OK, 10.0), now)
    for _ in range(20):
        crowd(gate, min(8, gate.limit), Outcome(v.OK, 1.0), now)
    for _ in range(10):
        crowd(gate, min(20, gate.limit), Outcome(v.OK, 6.0), now)
    assert gate.limit <= 14, "a queue is seen again"


# The process.


def test_a_busy_loop_lets_fewer_in():
    """An event that waits for the loop shrinks the limit to its floor, a free loop opens it again."""
    now = FakeClock()
    gate = Process(now, ceiling=1000, lag=0.05)
    held = [gate.acquire(a_call()) for _ in range(900)]
    for _ in range(1000):
        now.pass_(0.1)
        gate.felt(1.0)
    assert gate.limit == FLOOR
    with pytest.raises(Shed):
        gate.acquire(a_call())
    for release in held:
        release(Outcome(v.OK, 1.0))
    for _ in range(300):
        now.pass_(0.1)
        gate.felt(0.001)
    assert gate.limit > 850


def test_slow_vendors_do_not_close_the_process():
    """Calls that take a hundred times longer are as many more in flight, and none is refused."""
    now = FakeClock()
    gate = Process(now, ceiling=1000)
    for seconds, count in ((1.0, 9), (100.0, 900)):
        held = [gate.acquire(a_call()) for _ in range(count)]
        for release in held:
            now.pass_(0.1)
            gate.felt(0.002)
            release(Outcome(v.OK, seconds))
    assert gate.limit == 1000


# Who is refused.


@given(limit=st.integers(1, 100))
def test_the_least_critical_are_refused_first(limit):
    """Who is let in at some load is let in at every lower criticality's, and one always finds a place."""
    gate = Admission(FakeClock(), ceiling=limit)
    rooms = dict.fromkeys(CRITICALITIES, 0)
    while gate.room("critical_plus"):
        for level in CRITICALITIES:
            rooms[level] += gate.room(level)
        gate.acquire(a_call(criticality="critical_plus"))
    found = list(rooms.values())
    assert found == sorted(found, reverse=True)
    assert rooms["critical_plus"] == limit
    assert all(rooms[level] >= max(1, SHARES[level] * limit / 100) for level in CRITICALITIES)
    assert rooms["sheddable"] <= limit / 2 + 1


def test_a_refusal_says_when_to_come_again():
    """Places come free at count / seconds held: that is when there should be room, within a minute."""
    now = FakeClock()
    gate = Admission(now, ceiling=10)
    for _ in range(30):
        crowd(gate, 10, Outcome(v.OK, 20.0), now)
    for _ in range(gate.limit):
        gate.acquire(a_call(criticality="critical_plus"))
    with pytest.raises(Shed, match="criticality sheddable are let in below 5") as caught:
        gate.acquire(a_call(criticality="sheddable"))
    # Six must end before there are fewer than five; ten end in 20 s.
    assert caught.value.retry_after == pytest.approx(12.0)
    with pytest.raises(Shed) as critical:
        gate.acquire(a_call(criticality="critical_plus"))
    assert critical.value.retry_after == pytest.approx(2.0)


# A backend that is asked for half more than it can.


@dataclass
class Machine:
    """Serves *places* calls at once, the others wait in its queue; it works on for who has left."""

    places: int
    seconds: float
    queue: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.queue = asyncio.Semaphore(self.places)

    async def _work(self) -> None:
        async with self.queue:
            await asyncio.sleep(self.seconds)

    async def __call__(self, call: Call) -> Reply:
        work = asyncio.ensure_future(self._work())
        try:
            async with asyncio.timeout_at(call.deadline):
                await asyncio.shield(work)
        except TimeoutError:
            raise AttemptFailed("own", v.LOST, "no answer in time") from None
        return Reply(backend="own", result=TextResult(texts=("hi",), finish=("stop",)))


@dataclass
class Load:
    """What became of the calls, by criticality."""

    good: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CRITICALITIES, 0))
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CRITICALITIES, 0))
    shed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CRITICALITIES, 0))
    slowest: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.good.values())


def offered(
    rate: float,
    levels: tuple[Criticality, ...],
    admission: Callable[[FakeClock], Admission | None],
    *,
    seconds: float = 90.0,
    places: int = 4,
    known: int = 0,
) -> Load:
    """*rate* calls a second with 5 s each, at a machine that serves *places* a second."""
    clock, load = FakeClock(), Load()

    async def run() -> None:
        gate = admission(clock)
        gates = msgspec.structs.replace(
            a_gates(clock, in_flight=256, concurrency=known or 256), admission=gate
        )
        machine = a_backend("own", Machine(places, 1.0), clock=clock, price=CHEAP, gates=gates)
        service = dispatch({"chat": a_route(machine)}, clock)
        async with asyncio.TaskGroup() as calls:
            for number in range(int(rate * seconds)):
                level = levels[number % len(levels)]
                load.sent[level] += 1
                calls.create_task(one(service, level))
                await asyncio.sleep(1.0 / rate)

    async def one(service: Service, level: Criticality) -> None:
        began = clock()
        try:
            reply = await service(a_call(arrived=began, deadline=began + 5.0, criticality=level))
        except RouterError as exc:
            load.shed[level] += exc.status == 503
            return
        reply.close()
        load.good[level] += 1
        load.slowest = max(load.slowest, clock() - began)

    play(run(), clock)
    return load


MIXED: tuple[Criticality, ...] = ("critical", "sheddable")


def test_without_admission_overload_is_the_end():
    """The same machine and load, only capped by slots: answers come too late, critical ones as well."""
    load = offered(6.0, MIXED, lambda now: None)
    assert load.total < 0.7 * 4 * 90
    assert load.good["critical"] < 0.5 * load.sent["critical"]


@pytest.mark.parametrize("ceiling", [16, 256])
@pytest.mark.parametrize("known", [0, 4])
def test_half_more_than_it_can_costs_no_goodput(known, ceiling):
    """At 150% load at least 90% of the peak is answered in time, all critical calls among it."""

    def admission(now: FakeClock) -> Admission:
        return Admission(now, ceiling=ceiling, concurrency=known)

    load = offered(6.0, MIXED, admission, known=known)
    peak = offered(4.0, MIXED, admission, known=known)

    assert peak.total >= 0.95 * 4 * 90
    assert load.total >= 0.9 * peak.total
    assert load.good["critical"] >= 0.99 * load.sent["critical"]
    assert load.shed["critical"] == 0
    assert load.shed["sheddable"] > 0
    alone = offered(6.0, ("critical",), admission, known=known)
    assert alone.total >= 0.9 * peak.total, "also where all are critical"


@pytest.mark.parametrize("file", ["isocost.yaml", "isocost-all.yaml"])
def test_torchserve_is_never_asked_for_more_than_its_queue_holds(file):
    """The router's own limits refuse before the job queue of a model is full."""
    settings = (ROOT / "serving" / "config.properties").read_text()
    archives = (ROOT / "serving" / "ARCHIVE.yaml").read_text()
    sizes = re.findall(r"^job_queue_size=(\d+)$", settings, re.MULTILINE)
    sizes += re.findall(r"jobQueueSize: (\d+)$", archives, re.MULTILINE)
    assert len(sizes) > 1
    for name, backend in read(ROOT / file).backends.items():
        if backend.api == "torchserve":
            assert backend.limits.in_flight <= min(map(int, sizes)), name
            assert backend.price is not None
            assert backend.price.concurrency is not None, "the floor of its limit"


# Spill: wait in the machine's queue, or pay.


QUEUE = st.integers(0, 200)


def two(clock: FakeClock, ours: int, queued: int, **changes: Any) -> Route:
    """A machine for four calls of 1 s, with *ours* in flight and *queued* told; and a vendor."""
    gates = a_gates(clock, in_flight=1000, concurrency=4)
    gates.meter.acquire(a_call())(Outcome(v.OK, 1.0))
    for _ in range(ours):
        gates.meter.acquire(a_call())
    gates.meter.tell(queued)
    own = a_backend("own", clock=clock, price=CHEAP, local=True, gates=gates)
    return a_route(own, a_backend("paid", clock=clock), **changes)


def chosen(route: Route, clock: FakeClock, **changes: Any) -> Plan:
    call = a_call(**changes)
    return plan(call, route, look(call, route, clock()), clock())


@given(ours=QUEUE, queued=QUEUE, more=QUEUE, news=QUEUE)
def test_more_queue_never_makes_a_backend_look_faster(ours, queued, more, news):
    """More calls of ours, or a longer queue told, never shorten a prediction nor mend a promise."""
    clock = FakeClock()
    promise = Promise(answer=(0.95, 4.0))
    (less, _) = chosen(two(clock, ours, queued, promise=promise), clock).candidates
    longer = (ours + more, queued), (ours, queued + news)
    for grown in longer:
        (then, _) = chosen(two(clock, *grown, promise=promise), clock).candidates
        assert then.seconds >= less.seconds
        assert then.promised >= less.promised
        assert then.late >= less.late
        assert (then.left == "deadline") >= (less.left == "deadline")


@given(
    ours=QUEUE, queued=QUEUE, left=st.floats(1.5, 60.0), promised=st.none() | st.floats(1.5, 60.0)
)
def test_a_call_spills_only_when_waiting_would_break_what_is_owed(ours, queued, left, promised):
    """The cheaper machine is first as long as its queue and service fit promise and deadline."""
    clock = FakeClock()
    promise = Promise(answer=None if promised is None else (0.5, promised))
    route = two(clock, ours, queued, promise=promise)
    found = chosen(route, clock, deadline=1000.0 + left)
    (sight, _) = look(a_call(), route, clock())
    stretch = max(1.0, (max(ours, queued + 4 if queued else 0) + 1) / 4)
    assert sight.stretch == stretch
    keeps = stretch * sight.mean <= left
    if promised is not None:
        keeps = keeps and stretch * sight.promised <= promised
    assert (found.attempts[0].name == "own") == keeps


def test_calls_of_other_routers_are_counted_once():
    """A told queue that is our own adds nothing; what is more belongs to others, until it is old."""
    clock = FakeClock()
    meter = Meter(clock, concurrency=4)
    permits = [meter.acquire(a_call()) for _ in range(10)]
    meter.tell(6)  # four of the ten run
    assert meter.wait() == 11 / 4
    meter.tell(16)
    assert meter.wait() == 21 / 4
    for permit in permits:
        permit(Outcome(v.CANCELLED, 0.0))
    assert meter.wait() == 11 / 4
    meter.acquire(a_call())(Outcome(v.OK, 11 / 4))
    assert meter.mean(9, clock()) == pytest.approx(1.0), "their part of the wait is no service"
    clock.pass_(10.1)
    assert meter.wait() == 1.0


def test_less_critical_calls_leave_the_queue_to_others():
    """A sheddable call pays at half of the wait that a critical one accepts."""
    for level, longest in (("critical", 40), ("sheddable_plus", 31), ("sheddable", 22)):
        for ours, expected in ((longest - 2, "own"), (longest + 2, "paid")):
            clock = FakeClock()
            route = two(clock, ours, 0)
            found = chosen(route, clock, deadline=1010.0, criticality=level)
            assert found.attempts[0].name == expected, (level, ours)


def test_a_full_machine_spills_and_refuses_only_when_nothing_else_may_serve():
    """The plan sees the machine as full: paid where that is permitted, else 503 with a moment to retry."""
    clock = FakeClock()
    gate = Admission(clock, ceiling=10, concurrency=2)
    for _ in range(30):
        crowd(gate, 10, Outcome(v.OK, 12.0), clock)
    held = [gate.acquire(a_call(criticality="critical_plus")) for _ in range(gate.limit)]
    gates = msgspec.structs.replace(a_gates(clock), admission=gate)
    own = a_backend("own", clock=clock, price=CHEAP, local=True, gates=gates)
    paid = a_backend("paid", clock=clock)

    def ask(**changes: Any) -> Reply:
        call = a_call(deadline=clock() + 30.0, **changes)
        reply = play(dispatch({"chat": a_route(own, paid)}, clock)(call), clock)
        reply.close()
        return reply

    assert ask().backend == "paid"
    with pytest.raises(NoBackend, match="own: full") as caught:
        ask(tags=frozenset({"local_only"}))
    assert caught.value.status == 503
    assert caught.value.retry_after == pytest.approx(12.0 / len(held))
    held.pop()(Outcome(v.OK, 12.0))
    assert ask().backend == "own"
    assert ask(criticality="sheddable").backend == "paid"
