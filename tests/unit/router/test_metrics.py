"""The metrics page: the interface that is published, and what each metric says."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_families,
)
from prometheus_client.parser import text_string_to_metric_families

from router.cache.memory import Memory
from router.cache.stores import Stores
from router.core import verdict as v
from router.core.call import Key, Outcome
from router.core.ending import Ending
from router.core.errors import RouterError
from router.core.task import Delta, Finish
from router.core.trace import Trace
from router.gates.admission import Process
from router.gauges import sums
from router.layers.dispatch import dispatch
from router.layers.observe import observe
from router.ledger import books
from router.ledger.books import BudgetRow, Watched
from router.ledger.budget import Budget, Scope
from router.ledger.database import address, engine
from router.ledger.ledger import Ledger
from router.ledger.record import Ask
from router.plan import UNPRICED, Candidate, Plan
from router.route import Promise, Route
from router.telemetry import OVERHEAD, SECONDS, Telemetry
from tests.fakes import (
    OWN,
    PAID,
    USED,
    Client,
    FakeClock,
    Recorder,
    a_backend,
    a_call,
    a_route,
    answering,
    drain,
    play,
    streaming,
)
from tests.unit.router.test_router_doors import ANN, CHAT, House, a_body

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
NOW = 1_790_000_000.0
Samples = dict[tuple[str, ...], float]


def published() -> dict[str, tuple[str, frozenset[str]]]:
    """The table: name -> (type, labels)."""
    rows = re.findall(r"^\| `(isocost_\w+)` \| (\w+) \| ([\w, -]+) \|", PAGE, re.MULTILINE)
    return {
        name: (kind, frozenset() if labels == "-" else frozenset(labels.split(", ")))
        for name, kind, labels in rows
    }


def samples(telemetry: Telemetry, routes: tuple[Route, ...] = ()) -> Samples:
    backends = {b.name: b for route in routes for b in route.backends}
    telemetry.refresh(backends, {route.name: route for route in routes}, Process(FakeClock()))
    return {
        (s.name, *(f"{k}={x}" for k, x in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(telemetry.page()[0].decode())
        for s in family.samples
    }


def ended(
    route: Route, clock: FakeClock, *, leave: float | None = None, **changes: Any
) -> tuple[Any, Ending, Route]:
    """One call on *route*; its reader leaves after so many seconds."""
    record = Recorder()
    service = observe(record, clock)(dispatch({route.name: route}, clock))
    call = a_call(
        **({"route": route.name, "arrived": clock(), "deadline": clock() + 30.0} | changes)
    )

    async def run() -> None:
        try:
            reply = await service(call)
        except RouterError:
            return
        if leave is not None:
            clock.pass_(leave)
            reply.close(v.CANCELLED)
        else:
            await drain(reply) if call.stream else reply.close()

    play(run(), clock)
    ((_, ending),) = record.seen
    return call, ending, route


class Away:
    """A shared cache that cannot be reached."""

    up = False

    def told(self) -> dict[str, int]:
        return {"get": 1}


def full() -> tuple[Telemetry, Route]:
    """Every metric has a sample."""
    clock, telemetry = FakeClock(), Telemetry()
    own = a_backend("own", answering(v.FAULT, 0.1, v.OK, name="own"), clock=clock, price=OWN)
    paid = a_backend("paid", clock=clock)
    promise = Promise(first=(0.95, 3.0), answer=(0.9, 1.0))
    route = a_route(own, paid, promise=promise, baseline=paid)
    talk = a_route(a_backend("talk", streaming(), clock=clock), name="talk", promise=promise)
    for _ in range(3):
        telemetry.record(*ended(route, clock))
    telemetry.record(*ended(talk, clock, stream=True))
    call, ending, _ = ended(route, clock)
    left = Candidate("paid", 0, 0, 0.0, 0.0, late=False, left="unfit", why=f"{UNPRICED} faces")
    assert ending.trail is not None
    ending.trail.plan = Plan((), (left,), "cheapest", ())
    telemetry.record(call, ending, route)
    telemetry.record(call, structs.replace(ending, cache="miss"), route)
    telemetry.record(
        call, structs.replace(ending, status=503, verdict=v.REJECTED, trail=None), route
    )
    telemetry.cached(Stores(Memory(1, clock), Away(), clock, clock))  # type: ignore[arg-type]
    telemetry.refused("openai", 401)
    telemetry.told("budget")
    telemetry.ledger_is(up=True)
    telemetry.reloaded("loaded")
    rows = (
        BudgetRow("team/red/month/5", "team", "red", "month", 5, 9, 10**13, 10**12, 4 * 10**12),
    )
    watched = Watched(rows, {"reserved": (1, 10**12), "captured": (2, 3 * 10**12)})
    telemetry.facts.books([Budget(Scope("team", "red"), "month", 10**13)], watched, NOW)
    return telemetry, route


def test_what_is_exposed_is_what_is_published():
    """Names, types and labels of a page with every metric on it are those of docs/metrics.md."""
    telemetry, route = full()
    samples(telemetry, (route,))
    seen: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(telemetry.page()[0].decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = set().union(*[set(s.labels) - {"le"} for s in family.samples])
        if not family.name.endswith("_created"):
            seen[name] = (family.type, labels)
    assert published()
    assert {n: (k, frozenset(x)) for n, (k, x) in seen.items()} == published()


def test_a_page_is_also_open_metrics():
    """Who accepts OpenMetrics gets it, with the trace of the newest traced call as exemplar."""
    telemetry, route = full()
    clock = FakeClock()
    trace = Trace(0xABC, 1, sampled=True)
    telemetry.record(*ended(route, clock, trace=trace))
    telemetry.record(*ended(route, clock, trace=Trace(0xDEF, 1, sampled=False)))
    telemetry.refresh({}, {"chat": route}, Process(FakeClock()))
    page, kind = telemetry.page("application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    exemplars = [
        (s.name, s.exemplar.labels)
        for family in open_families(page.decode())
        for s in family.samples
        if s.exemplar
    ]
    assert exemplars == [("isocost_call_seconds_bucket", {"trace_id": trace.name})]
    assert telemetry.page()[1].startswith("text/plain; version=0.0.4")


def test_buckets_fit_what_is_measured():
    """From a millisecond to minutes, no step wider than 3 times; own time from a tenth of one."""
    for buckets, least, most in ((SECONDS, 0.001, 300), (OVERHEAD, 0.0001, 1)):
        assert buckets[0] <= least
        assert buckets[-1] >= most
        pairs = itertools.pairwise(buckets)
        assert all(1 < high / low <= 5 for low, high in pairs)


# Nothing that a client says becomes a label.

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
FIELDS = ("model", "route", "tags", "key", "id", "path", "user")


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


def series(house: House) -> set[tuple[str, ...]]:
    pipeline = house.runtime.pipeline
    house.runtime.telemetry.refresh(pipeline.backends, pipeline.routes, pipeline.admission)
    text = house.runtime.telemetry.page()[0].decode()
    return {
        (s.name, *sorted(f"{k}={x}" for k, x in s.labels.items()))
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@settings(max_examples=60, deadline=None)
@given(said=st.fixed_dictionaries(dict.fromkeys(FIELDS, WORDS)), good=st.booleans())
def test_no_client_makes_a_series(open_house: House, said: dict[str, str], good: bool):
    """Whatever stands in a body, a path, a key or a header: all values of labels are known before."""
    config = open_house.runtime.pipeline.config
    known = {*config.routes, *config.backends, *(k.team for k in config.keys)}
    known |= {verdict.name for verdict in v.ALL} | {"(none)", "openai", "native", "default"}
    headers = {
        "x-request-id": said["id"],
        "x-isocost-tags": said["tags"],
        "user-agent": said["user"],
    }
    headers |= ANN if good else {"authorization": f"Bearer {said['key']}"}
    if not good:
        headers["x-isocost-route"] = said["route"]
    model = "chat" if good else said["model"]
    body = a_body(model=model, user=said["user"], **{said["path"]: said["path"]})
    open_house.ask(Client(body, headers=headers), CHAT)
    for name, *labels in series(open_house):
        for label in labels:
            key, _, value = label.partition("=")
            if key in {"route", "backend", "team", "verdict", "door"}:
                assert value in known, (name, label)
            if key in {"status", "le"}:
                float(value)
        assert not {*labels} & {
            f"{k}={word}" for k in ("route", "backend") for word in said.values()
        }


def test_labels_are_those_of_the_interface_alone(open_house: House):
    """The number of series after many strange calls is that of after one of each kind."""
    for key in ("", "Bearer x"):
        open_house.ask(Client(a_body(), headers={"authorization": key}))
    open_house.chat()
    open_house.chat(model="nowhere")
    before = series(open_house)
    for number in range(50):
        open_house.chat(model=f"model-{number}", headers={"x-isocost-tags": f"tag-{number}"})
        open_house.chat(headers={"x-request-id": f"id-{number}", "x-isocost-tags": f"tag-{number}"})
        open_house.ask(Client(a_body(), headers={"authorization": f"Bearer {number}"}))
    assert series(open_house) == before


# Promises.


def promised(found: Samples, promise: str, name: str = "chat") -> tuple[float, float]:
    """Calls that tell of the promise, and those that broke it."""
    labels = (f"promise={promise}", f"route={name}")
    return (
        found.get(("isocost_promised_calls_total", *labels), -1),
        found.get(("isocost_broken_promises_total", *labels), -1),
    )


def told(*steps: Any, leave: float | None = None, **changes: Any) -> Samples:
    """What is said after calls whose backend takes so long, or ends so; a promise of 1 s each."""
    telemetry = Telemetry()
    for step in steps:
        clock = FakeClock()
        script = step if isinstance(step, tuple) else (step,)
        make = streaming if changes.get("stream") else answering
        route = a_route(
            a_backend("a", make(*script), clock=clock),
            promise=Promise(first=(0.9, 1.0), answer=(0.9, 1.0)),
        )
        telemetry.record(*ended(route, clock, leave=leave, **changes))
    return samples(telemetry, (route,))


def test_a_late_answer_breaks_its_promise():
    """Within the seconds it is kept, beyond them it is broken, though the call was ok."""
    found = told((0.5, v.OK), (2.0, v.OK))
    assert promised(found, "answer") == (2, 1)
    assert promised(found, "deadline") == (2, 0)
    assert promised(found, "first_event") == (-1, -1)


def test_no_good_answer_breaks_every_promise():
    """A failure is no kept promise, however quick it was."""
    found = told(v.FAULT)
    assert promised(found, "answer") == (1, 1)
    assert promised(found, "deadline") == (1, 1)


def test_who_was_wrong_himself_says_nothing():
    """A refused body or a spent budget is no promise of ours."""
    assert promised(told(v.INVALID), "answer") == (-1, -1)
    assert promised(told(v.OK, max_cost=1), "deadline") == (-1, -1)


def test_who_left_says_something_only_when_it_was_late():
    """A client that leaves at once waited for nothing."""
    assert promised(told(v.OK, leave=0.5), "answer") == (-1, -1)
    assert promised(told(v.OK, leave=2.0), "answer") == (1, 1)


def test_a_deadline_counts_from_arrival():
    """A call that took longer than its caller allowed has missed its deadline."""
    found = told((0.6, v.OK), arrived=999.0, deadline=1000.5)
    assert promised(found, "deadline") == (1, 1)


def test_a_caller_in_a_hurry_makes_no_alarm():
    """A deadline shorter than the route's is the caller's own; missed, it says nothing of us."""
    found = told((0.6, v.OK), deadline=1000.5, hurried=True)
    assert promised(found, "deadline") == (-1, -1)
    assert promised(told((0.4, v.OK), deadline=1000.5, hurried=True), "deadline") == (1, 0)


def test_a_stream_keeps_its_promise_with_its_first_event():
    """What comes later, even a late end, was not promised; the deadline was."""
    clock, telemetry = FakeClock(), Telemetry()
    slow = streaming(Delta(text="a"), 40.0, Finish(reason="stop"), name="a")
    route = a_route(a_backend("a", slow, clock=clock), promise=Promise(first=(0.9, 1.0)))
    telemetry.record(*ended(route, clock, stream=True))
    found = samples(telemetry, (route,))
    assert promised(found, "first_event") == (1, 0)
    assert promised(found, "deadline") == (1, 1)


def test_promises_are_shown_as_configured():
    """Seconds, and the share of calls that must be within them."""
    clock = FakeClock()
    route = a_route(a_backend("a", clock=clock), promise=Promise(answer=(0.95, 10.0)))
    found = samples(Telemetry(), (route,))
    assert found["isocost_promise_seconds", "promise=answer", "route=chat"] == 10
    assert found["isocost_promise_share", "promise=answer", "route=chat"] == 0.95
    assert found["isocost_promise_seconds", "promise=deadline", "route=chat"] == 30
    assert ("isocost_promise_share", "promise=deadline", "route=chat") not in found


# Money.


def test_a_team_is_told_what_it_spent_and_saved():
    """Sums by team are those by route."""
    clock, telemetry = FakeClock(), Telemetry()
    paid = a_backend("paid", clock=clock)
    own = a_backend("own", answering(0.1, v.OK, name="own"), clock=clock, price=OWN, local=True)
    dear, cheap = a_route(paid), a_route(own, baseline=paid)
    telemetry.record(*ended(dear, clock, key=Key("ann", "red")))
    telemetry.record(*ended(cheap, clock, key=Key("bob", "blue")))
    found = samples(telemetry)
    assert found["isocost_team_cost_usd_total", "team=red"] * 1e12 == pytest.approx(PAID.of(USED))
    assert found["isocost_team_saved_usd_total", "team=blue"] == pytest.approx(
        found["isocost_saved_usd_total", "route=chat"]
    )


def test_spill_is_what_vendors_got_although_there_is_a_machine():
    """A route of vendors alone spills nothing; one that went on to a vendor does."""
    clock, telemetry = FakeClock(), Telemetry()
    own = a_backend("own", answering(v.FAULT), clock=clock, price=OWN, local=True)
    paid = a_backend("paid", clock=clock)
    telemetry.record(*ended(a_route(paid, name="vendors"), clock))
    telemetry.record(*ended(a_route(own, paid, name="both"), clock))
    found = {k[1]: x for k, x in samples(telemetry).items() if k[0] == "isocost_spill_usd_total"}
    assert found == {"route=both": pytest.approx(PAID.of(USED) / 1e12)}


def row(name: str, window: str, posted: int, **changes: Any) -> BudgetRow:
    given = {"key": f"team/{name}/{window}/0", "kind": "team", "name": name, "window": window}
    given |= {"start": 0, "ends": 50, "limit": 7, "held": 1, "posted": posted}
    return BudgetRow(**(given | changes))


def test_budgets_are_shown_as_they_stand():
    """Named ones from the start, those of `*` once a name has spent, with the limit in force now."""
    red, each = Budget(Scope("team", "red"), "month", 100), Budget(Scope("team", "*"), "day", 30)
    found = sums([red, each], [row("blue", "day", 5), row("gone", "week", 5)], NOW)
    assert set(found) == {("team", "red", "month"), ("team", "blue", "day")}
    assert found["team", "red", "month"][:3] == (100, 0, 0)
    assert found["team", "red", "month"][3] > NOW
    assert found["team", "blue", "day"] == (30, 5, 1, 50)


def test_a_rolling_budget_is_the_sum_of_its_buckets():
    """It has no end: what leaves it comes back bit by bit."""
    rows = [row("red", "24h", 5), row("red", "24h", 6, start=60, key="team/red/24h/60")]
    found = sums([Budget(Scope("team", "red"), "24h", 100)], rows, NOW)
    assert found == {("team", "red", "24h"): (100, 11, 2, 0)}


def test_zones_and_slashes_are_kept_apart():
    """Two windows of one name are two budgets; a name may hold anything."""
    berlin = Budget(Scope("key", "a/b"), "month", 9, zone="Europe/Berlin")
    utc = Budget(Scope("key", "a/b"), "month", 8)
    key = "key/a/b/month@Europe/Berlin/0"
    found = sums([berlin, utc], [row("a/b", "month", 5, kind="key", key=key)], NOW)
    assert found["key", "a/b", "month@Europe/Berlin"][:2] == (9, 5)
    assert found["key", "a/b", "month"][:2] == (8, 0)


async def test_the_books_tell_what_is_held_and_captured(tmp_path: Path):
    """Counts and bounds by state, and the budgets, read from a real store."""
    where = f"sqlite:///{tmp_path / 'l.db'}"
    ledger = await Ledger.open(where, [Budget(Scope("global"), "day", 10**12)])

    def ask(number: int) -> Ask:
        over = NOW * 2
        return Ask(f"a{number}", "c", 0, "paid", 100, over, over, (Scope("global"),))

    lost = await ledger.reserve(ask(1), dispatched=True)
    await ledger.reserve(ask(2), dispatched=True)
    await ledger.reserve(ask(3))
    settled = await ledger.reserve(ask(4), dispatched=True)
    ledger.capture(lost)
    ledger.settle(settled, 60)
    await ledger.written()
    found = books.watched(engine(address(where)), time.time())
    await ledger.close()
    assert found.attempts == {"reserved": (1, 100), "dispatched": (1, 100), "captured": (1, 100)}
    (budget,) = found.budgets
    assert (budget.held, budget.posted) == (200, 160)


# Backends and routes.


def test_a_route_knows_how_many_can_serve_it():
    """A breaker that is not closed and a status page that says no both count."""
    clock, telemetry = FakeClock(), Telemetry()
    bad, down, good = (a_backend(name, clock=clock) for name in ("bad", "down", "good"))
    route = a_route(bad, down, good)
    down.gates.health.tell(up=False)
    for _ in range(5):
        bad.gates.breaker.acquire(a_call())(Outcome(v.FAULT, 0.1))
    found = samples(telemetry, (route,))
    assert found["isocost_route_backends", "route=chat"] == 3
    assert found["isocost_route_ready_backends", "route=chat"] == 1


def test_what_left_the_configuration_leaves_the_page():
    """No alert fires for ever over a backend that is no more."""
    clock, telemetry = FakeClock(), Telemetry()
    old, new = a_route(a_backend("old", clock=clock)), a_route(a_backend("new", clock=clock))
    samples(telemetry, (old,))
    found = samples(telemetry, (new,))
    left = {key[0] for key in found if "backend=old" in key}
    assert all(name.endswith(("_total", "_created")) for name in left)


def test_several_processes_calm_what_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files of several processes forget no series: a backend that left is shown as well."""
    code = """
from tests.fakes import *
from router.telemetry import Telemetry
from tests.unit.router.test_metrics import samples
clock, telemetry = FakeClock(), Telemetry()
old = a_backend("old", clock=clock)
old.gates.health.tell(up=False)
assert samples(telemetry, (a_route(old),))["isocost_backend_up", "backend=old"] == 0
found = samples(telemetry, (a_route(a_backend("new", clock=clock)),))
assert found["isocost_backend_up", "backend=old"] == 1, found
assert found["isocost_promise_seconds", "promise=deadline", "route=chat"] == 30
"""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_the_form_of_a_refused_file_is_told():
    """0 from the moment a file is refused until a good one is loaded."""
    telemetry = Telemetry()
    assert samples(telemetry)["isocost_config_loaded",] == 1
    telemetry.reloaded("refused")
    assert samples(telemetry)["isocost_config_loaded",] == 0
    telemetry.reloaded("loaded")
    assert samples(telemetry)["isocost_config_loaded",] == 1
