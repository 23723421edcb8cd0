"""Slow, silent and broken backends through a real router: the official SDK gets a right answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.system.router.harness import (
    CHAT,
    SANDBOX_ENV,
    Router,
    Sandbox,
    ask,
    backend,
    router,
    sandbox,
)

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("failures")]
FIRST, SECOND = "gpt-4o-mini", "gpt-5.4-mini"
"""Models by which a fault strikes one backend alone; the plan takes the cheaper one first."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("failures")) as made:
        yield made


def config(box: Sandbox) -> dict[str, Any]:
    own = {"price": {"per_hour_usd": 0.01, "concurrency": 8}, "local": True, "tasks": ["chat"]}

    def route(*backends: str, **failure: Any) -> dict[str, Any]:
        return {
            "task": "chat",
            "backends": list(backends),
            "promise": {"deadline": "8s"},
            "failure": failure,
        }

    return {
        "backends": {
            "first": backend(box, model=FIRST, limits={"first_event": "1s"}, tasks=["chat"]),
            "second": backend(box, model=SECOND, tasks=["chat"]),
            "own": backend(box, model=SECOND, **own),
        },
        "routes": {
            "two": route("first", "second"),
            "alone": route("second"),
            "once": route("second", retries=0),
            "resume": route("first", "second", on_broken_stream="continue"),
            "hedged": route("first", "own", hedge={"after": "300ms", "percent": 50})
            | {"rules": [{"when": "true", "prefer": ["first"]}]},
        },
    }


@pytest.fixture(scope="module")
def running(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with router(tmp_path_factory.mktemp("failures"), config(box), **SANDBOX_ENV) as made:
        yield made


@pytest.fixture
def app(running: Router, box: Sandbox) -> Iterator[Router]:
    box.reset()
    yield running
    box.heal()


def kinds(app: Router, call_id: str) -> list[tuple[str, str, str]]:
    return [(a["backend"], a["kind"], a["verdict"]) for a in app.decision(call_id)["attempts"]]


def text(stream: Any) -> str:
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_a_stream_that_stays_silent_is_left_before_anything_was_sent(app, box):
    """Past its first-event limit the next backend streams, and the client sees one whole answer."""
    box.faults({"fault": "hang", "match": {"model": FIRST}})
    raw = app.sdk().chat.completions.with_raw_response.create(
        model="two", messages=CHAT, stream=True
    )
    assert raw.headers["x-isocost-backend"] == "second"
    assert text(raw.parse())
    found = kinds(app, raw.headers["x-isocost-call-id"])
    assert found == [("first", "first", "lost"), ("second", "failover", "ok")]


def test_a_vendor_that_hangs_leaves_time_for_the_next(app, box):
    """A whole answer that does not come is given up early enough for another backend to answer."""
    box.faults({"fault": "hang", "match": {"model": FIRST}})
    started = time.monotonic()
    raw = app.sdk().chat.completions.with_raw_response.create(model="two", messages=CHAT)
    assert raw.headers["x-isocost-backend"] == "second"
    assert time.monotonic() - started < 8.0


def test_a_single_failure_is_asked_again(app, box):
    """Where nobody else is left, a vendor's 500 is repeated once, and the answer is right."""
    box.faults({"fault": "status", "status": 500, "times": 1})
    raw = app.sdk().chat.completions.with_raw_response.create(model="alone", messages=CHAT)
    found = kinds(app, raw.headers["x-isocost-call-id"])
    assert found == [("second", "first", "fault"), ("second", "retry", "ok")]
    box.faults({"fault": "status", "status": 500, "times": 1})
    with pytest.raises(openai.InternalServerError):
        app.sdk().chat.completions.create(model="once", messages=CHAT)


def test_a_lost_paid_call_is_not_repeated(app, box):
    """A connection that breaks after the request may be billed: the same vendor is not asked again."""
    box.faults({"fault": "reset"})
    with pytest.raises(openai.InternalServerError) as caught:
        app.sdk().chat.completions.create(model="alone", messages=CHAT)
    assert float(caught.value.response.headers["x-isocost-cost-usd"]) > 0
    assert len(box.journal()) == 1


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_broken_stream_goes_on_elsewhere(app, box, fault):
    """The SDK reads one text to its normal end; the note and the record say who wrote it."""
    box.faults({"fault": fault, "after_events": 4, "match": {"model": FIRST}})
    body = {"model": "resume", "messages": CHAT, "stream": True}
    raw = app.sdk().chat.completions.with_raw_response.create(**body)
    chunks = list(raw.parse())
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}
    found = kinds(app, raw.headers["x-isocost-call-id"])
    assert found == [("first", "first", "lost"), ("second", "resume", "ok")]
    asked = box.journal()[-1]["body"]
    assert asked["model"] == SECOND
    assert asked["messages"][-2]["role"] == "assistant"
    assert text(chunks).startswith(asked["messages"][-2]["content"])


def test_a_slow_attempt_is_hedged_and_the_loser_is_left(app, box):
    """A second attempt answers; the slow vendor sees its connection close, and both are recorded."""
    # Hedges are a share of the calls: some have to come before the first one may be hedged.
    for _ in range(2):
        app.sdk().chat.completions.create(model="hedged", messages=CHAT, max_tokens=4)
    box.reset()
    box.faults({"fault": "hang", "match": {"model": FIRST}})
    raw = app.sdk().chat.completions.with_raw_response.create(model="hedged", messages=CHAT)
    assert raw.headers["x-isocost-backend"] == "own"
    found = kinds(app, raw.headers["x-isocost-call-id"])
    assert found == [("first", "first", "cancelled"), ("own", "hedge", "ok")]
    slow = next(e for e in box.journal() if e["body"]["model"] == FIRST)
    assert slow["disconnected_after"] is not None
    assert app.metrics()["isocost_extra_attempts_total,backend=own,kind=hedge"] >= 1


def test_a_hurried_caller_opens_no_breaker(app, box):
    """Deadlines far below what a vendor needs end as late, again and again, and blame nobody."""
    box.faults({"fault": "slow", "seconds": 1.0})
    sdk = app.sdk(default_headers={"x-isocost-deadline-ms": "60"})
    for _ in range(3):
        with pytest.raises(openai.APIStatusError) as caught:
            sdk.chat.completions.create(model="once", messages=CHAT)
        assert caught.value.status_code == 504
    box.heal()
    assert ask(f"{app.url}/readyz")["ready"]
    verdicts = [n for n in app.metrics() if n.startswith("isocost_attempts_total,backend=second")]
    assert any("verdict=late" in name for name in verdicts)
