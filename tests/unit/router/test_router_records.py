"""What is kept of calls: decisions, the journal, metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.core import verdict as v
from router.core.call import Key, Outcome, Usage
from router.core.ending import Ending
from router.core.errors import RouterError
from router.decisions import Decision, Decisions, plan_json, reason
from router.gates.admission import Process
from router.layers.dispatch import dispatch
from router.layers.observe import observe
from router.route import Promise, Route
from router.telemetry import Telemetry
from tests.fakes import (
    OWN,
    PAID,
    USED,
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

COST = PAID.of(USED)
QUOTE = PAID.quote(a_call(), 30.0)


def ended(*endings: Any, stream: bool = False, **changes: Any) -> tuple[Any, Ending, Route]:
    """One call over backends `a`, `b`, ... that end as said; the last one is free."""
    clock, record = FakeClock(), Recorder()
    make = streaming if stream else answering
    backends = [
        a_backend(name, make(*([] if stream else [e]), name=name), clock=clock)
        for name, e in zip("abc", endings, strict=False)
    ]
    route = a_route(*backends, baseline=backends[-1])
    service = observe(record, clock)(dispatch({"chat": route}, clock))
    call = a_call(stream=stream, **changes)

    async def run() -> None:
        try:
            reply = await service(call)
        except RouterError:
            return
        await drain(reply) if stream else reply.close()

    play(run(), clock)
    ((_, ending),) = record.seen
    return call, ending, route


def kept(*endings: Any, **changes: Any) -> Decision:
    return Decisions(10).keep(*ended(*endings, **changes))


# Decisions.


def test_a_decision_tells_the_whole_story():
    """Who asked, what was expected of each backend, what was tried, what it cost and saved."""
    found = kept(v.LOST, v.OK, key=Key("ann", "red"), tags=frozenset({"t"})).json()
    assert json.loads(json.dumps(found)) == found
    assert (found["key"], found["team"], found["tags"]) == ("ann", "red", ["t"])
    assert (found["verdict"], found["status"], found["backend"]) == ("ok", 200, "b")
    assert [(a["backend"], a["verdict"]) for a in found["attempts"]] == [("a", "lost"), ("b", "ok")]
    assert found["attempts"][0]["detail"] == "scripted lost"
    assert found["cost_usd"] == "0.000111"
    assert found["saved_usd"] == "-0.00009"
    assert found["usage"]["input_tokens"] == 100
    assert found["plan"]["order"] == ["a", "b"]
    assert found["plan"]["candidates"][0]["quote_usd"] == "0.00009"
    assert found["error"] is None


def test_a_refusal_is_a_decision_too():
    """Without an answer there is no backend and no saving, but the reasons."""
    found = kept(v.FAULT, max_cost=1).json()
    assert (found["verdict"], found["status"], found["backend"]) == ("rejected", 402, None)
    assert found["saved_usd"] is None
    assert "Raise max_cost_usd" in found["error"]
    assert found["attempts"] == []
    (candidate,) = found["plan"]["candidates"]
    assert (candidate["taken"], candidate["left_by"]) == (False, "cost")


def test_no_text_of_a_call_is_kept():
    """Neither prompt nor answer is in a record."""
    found = json.dumps(kept(v.OK, text="my s3cret prompt").json())
    assert "s3cret" not in found
    assert '"hi"' not in found


def test_the_newest_decisions_are_kept():
    """At most `size` are kept, the oldest goes first; size 0 keeps none but still tells."""
    call, ending, route = ended(v.OK)
    ring = Decisions(2)
    for name in ("1", "2", "3"):
        ring.keep(a_call(id=name), ending, route)
    assert [ring.find(n) is not None for n in ("1", "2", "3")] == [False, True, True]
    none = Decisions(0)
    assert none.keep(call, ending, route).call_id == "c1"
    assert none.find("c1") is None


def test_a_reason_fits_a_header():
    """One line: the objective, who was left and why, who would be late, who failed."""
    clock = FakeClock()
    slow = a_backend("slow", clock=clock)
    slow.gates.meter.acquire(a_call())(Outcome(v.OK, 9.0))
    full = a_backend("full", clock=clock, in_flight=0)
    bad = a_backend("bad", answering(v.FAULT), clock=clock)
    good = a_backend("good", clock=clock)
    route = a_route(slow, full, bad, good, promise=Promise(answer=(0.5, 1.0)))
    reply = play(dispatch({"chat": route}, clock)(a_call()), clock)
    reply.close()
    assert reason(reply.trail) == "cheapest; full left: full; slow late; bad fault"
    assert [c["keeps_promise"] for c in plan_json(reply.trail.plan)["candidates"]] == [
        False, True, True, True,
    ]  # fmt: skip


# Metrics.


def page(telemetry: Telemetry, *backends: Any) -> dict[tuple[str, ...], float]:
    """Every sample of the page by its name and labels, read as a server does."""
    telemetry.refresh({b.name: b for b in backends}, {}, Process(FakeClock()))
    return {
        (s.name, *(f"{k}={x}" for k, x in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(telemetry.page()[0].decode())
        for s in family.samples
        if not s.name.endswith("_created")
    }


def counted(*calls: tuple[Any, ...], **changes: Any) -> dict[tuple[str, ...], float]:
    telemetry = Telemetry()
    for endings in calls:
        telemetry.record(*ended(*endings, **changes))
    return page(telemetry)


def test_calls_are_counted_by_how_they_ended():
    """One count per call by route, who answered and verdict; one per attempt; seconds once."""
    found = counted((v.OK,), (v.FAULT, v.OK), (v.FAULT,))
    calls = {k: n for k, n in found.items() if k[0] == "isocost_calls_total"}
    assert sum(calls.values()) == 3
    assert calls["isocost_calls_total", "backend=(none)", "route=chat", "verdict=fault"] == 1
    assert found["isocost_attempts_total", "backend=a", "verdict=fault"] == 2
    assert found["isocost_attempts_total", "backend=a", "verdict=ok"] == 1
    assert found["isocost_attempts_total", "backend=b", "verdict=ok"] == 1
    assert found["isocost_call_seconds_count", "route=chat"] == 3
    assert found["isocost_attempt_seconds_count", "backend=a"] == 3


def test_dollars_add_up():
    """Costs of all attempts are counted where they were made; saving is the baseline less the cost."""
    found = counted((v.LOST, v.OK), (v.OK,))
    assert found["isocost_cost_usd_total", "backend=a", "route=chat"] * 1e12 == pytest.approx(
        QUOTE + COST
    )
    assert found["isocost_cost_usd_total", "backend=b", "route=chat"] * 1e12 == pytest.approx(COST)
    assert found["isocost_baseline_usd_total", "route=chat"] * 1e12 == pytest.approx(2 * COST)
    assert found["isocost_saved_usd_total", "route=chat"] == 0


def test_saving_is_counted():
    """A call served by the own machine saves what the baseline would have cost."""
    clock, telemetry = FakeClock(), Telemetry()
    own = a_backend("own", answering(0.1, v.OK, name="own"), clock=clock, price=OWN, local=True)
    route = a_route(own, baseline=a_backend("paid", clock=clock))
    service = observe(lambda call, ending: telemetry.record(call, ending, route), clock)(
        dispatch({"chat": route}, clock)
    )
    reply = play(service(a_call()), clock)
    reply.close()
    saved = page(telemetry)["isocost_saved_usd_total", "route=chat"]
    assert saved * 1e12 == pytest.approx(COST - OWN.machine_second // 10)


def test_tokens_are_counted_by_direction():
    """Input, cached and output tokens of answers; directions without tokens do not appear."""
    found = counted((Usage(100, 10, 40),), (Usage(5),))
    tokens = {k[2]: n for k, n in found.items() if k[0] == "isocost_tokens_total"}
    assert tokens == {"direction=input": 105, "direction=cached": 40, "direction=output": 10}


def test_streams_have_a_first_event():
    """The time to the first event is counted for streams, the own overhead for whole answers only."""
    found = counted((v.OK,), stream=True)
    assert found["isocost_first_event_seconds_count", "backend=a"] == 1
    assert ("isocost_overhead_seconds_count",) not in found or found[
        "isocost_overhead_seconds_count",
    ] == 0
    assert counted((v.OK,))["isocost_overhead_seconds_count",] == 1


def test_gates_are_shown():
    """Slots taken, breaker, health and queue are those of the moment."""
    clock = FakeClock()
    backend = a_backend("a", clock=clock)
    telemetry = Telemetry()
    backend.gates.in_flight.acquire(a_call())
    backend.gates.health.tell(up=False, queued=3)
    for _ in range(5):
        backend.gates.breaker.acquire(a_call())(Outcome(v.FAULT, 0.1))
    found = page(telemetry, backend)
    assert found["isocost_in_flight", "backend=a"] == 1
    assert found["isocost_breaker_state", "backend=a"] == 2
    assert found["isocost_backend_up", "backend=a"] == 0
    assert found["isocost_backend_queue", "backend=a"] == 3
    clock.pass_(60.0)
    found = page(telemetry, backend)
    assert found["isocost_breaker_state", "backend=a"] == 1
    assert found["isocost_backend_up", "backend=a"] == 1


def test_counts_stay_when_a_page_is_made():
    """Making the page twice counts nothing twice."""
    telemetry = Telemetry()
    telemetry.record(*ended(v.OK))
    telemetry.refused("openai", 401)
    telemetry.reloaded("refused")
    assert page(telemetry) == page(telemetry)
    found = page(telemetry)
    assert found["isocost_refused_total", "door=openai", "status=401"] == 1
    assert found["isocost_config_reloads_total", "result=refused"] == 1


def test_a_route_that_is_gone_is_counted_as_unknown():
    """A call whose route was removed while it ran is counted all the same."""
    call, ending, _ = ended(v.OK)
    telemetry = Telemetry()
    telemetry.record(call, ending, None)
    assert page(telemetry)["isocost_calls_total", "backend=a", "route=(unknown)", "verdict=ok"] == 1


def test_predictions_are_held_against_what_came():
    """The ratio of real to predicted cost is counted per backend."""
    found = counted((v.OK,))
    assert found["isocost_cost_error_ratio_count", "backend=a"] == 1
    # Predicted: 100 in and all 50 out; real: 100 in and 10 out.
    assert found["isocost_cost_error_ratio_sum", "backend=a"] == pytest.approx(
        COST / (COST + 40 * 600_000)
    )
