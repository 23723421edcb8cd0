"""Traces: what comes in, what goes to backends, and the spans of a call that has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from router.config import ConfigError, TracingConfig, parse
from router.core import verdict as v
from router.core.trace import Trace, parent
from router.tracing import Tracing, possible, traced
from tests.fakes import Client, answering, streaming
from tests.unit.router.test_router_doors import ANN, CONFIG, House

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"


# In and out.


def test_a_callers_span_is_read():
    """Ids, the flag that asks for sampling, and the state, which is passed on as it is."""
    found = parent(GIVEN.encode(), b"vendor=1")
    assert found is not None
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)
    assert (found.sampled, found.state) == (True, "vendor=1")
    unsampled = parent(f"00-{TRACE}-{SPAN}-00".encode())
    assert unsampled is not None
    assert not unsampled.sampled


@pytest.mark.parametrize(
    "told",
    [
        None,
        b"",
        b"00",
        f"00-{TRACE}-{SPAN}".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
    ],
)
def test_what_cannot_be_understood_is_no_trace(told: bytes | None):
    """A wrong header begins a new trace, it fails no call."""
    assert parent(told) is None


def test_a_later_version_is_read_by_what_is_known():
    """A version that is not ours yet has the same first parts."""
    assert parent(f"01-{TRACE}-{SPAN}-01-more".encode()) is not None


@given(st.binary(max_size=80), st.binary(max_size=600))
def test_any_bytes_are_read_or_left(told: bytes, state: bytes):
    """Nothing that a client sends raises, and no control character is passed on."""
    found = parent(told, state) or parent(GIVEN.encode(), state)
    assert found is not None
    assert all(" " <= letter <= "~" for letter in found.state)


@given(st.integers(1, 2**64 - 1), st.text(max_size=20), st.text(max_size=20))
def test_an_attempts_id_is_worked_out_alike(span: int, one: str, other: str):
    """The wire and whoever writes the spans find the same id; two backends have two."""
    trace = Trace(1, span, sampled=True)
    assert 0 < trace.attempt(one) < 2**64
    assert (trace.attempt(one) == trace.attempt(other)) is (one == other)
    told = parent(trace.headers(one)["traceparent"].encode())
    assert told is not None
    assert (told.trace_id, told.span_id, told.sampled) == (1, trace.attempt(one), True)


def begun(**spec: Any) -> Trace:
    made = Tracing(TracingConfig(**spec), InMemorySpanExporter())
    trace = made.begin({b"traceparent": GIVEN.encode(), b"tracestate": b"a=b"})
    made.close()
    return trace


def test_a_call_joins_its_callers_trace():
    """Same trace, an id of its own, the caller as parent; its state goes on to backends."""
    trace = begun()
    assert trace.name == TRACE
    assert trace.parent is not None
    assert trace.sampled
    assert trace.headers("own")["tracestate"] == "a=b"


def test_callers_can_be_ignored():
    """Then nobody outside can make us keep a trace, or choose its id."""
    trace = begun(callers="ignore", sample=0.0)
    assert trace.name != TRACE
    assert trace.parent is None
    assert not trace.sampled
    assert trace.headers("own")["traceparent"].endswith("-00")


def test_a_share_of_calls_is_sampled():
    """The share is for calls without a trace of their own: a caller's wish is followed."""
    made = Tracing(TracingConfig(sample=0.25), InMemorySpanExporter())
    kept = sum(made.begin({}).sampled for _ in range(2000))
    assert 350 < kept < 650
    assert made.begin({b"traceparent": GIVEN.encode()}).sampled
    made.close()


def test_traces_are_off_unless_configured():
    """Without the section, and where the SDK is switched off as everywhere, there are none."""
    base = CONFIG.replace("server:", "tracing: {}\nserver:")
    assert traced(parse(CONFIG), {}) is None
    assert traced(parse(base), {"OTEL_SDK_DISABLED": "true"}) is None


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch):
    """Who asks for traces without the packages that make them is told what to install."""
    monkeypatch.setattr("router.tracing.find_spec", lambda name: None)
    possible(parse(CONFIG))
    with pytest.raises(ConfigError, match=r"isocost\[otel\]"):
        possible(parse(CONFIG.replace("server:", "tracing: {}\nserver:")))


# Spans.


class Traced:
    """A house whose spans are kept."""

    def __init__(self, folder: Path, **scripts: Any) -> None:
        self.house = House(folder, **scripts)
        self.exporter = InMemorySpanExporter()
        runtime = self.house.runtime
        runtime.tracing = Tracing(TracingConfig(), self.exporter)
        runtime.tracing.learn(runtime.pipeline.config)

    def spans(self) -> list[ReadableSpan]:
        """Of all calls so far: calls, then attempts in the order in which they ended."""
        assert self.house.runtime.tracing is not None
        self.house.runtime.tracing.close()
        found = self.exporter.get_finished_spans()
        return sorted(found, key=lambda span: span.parent is not None and not span.parent.is_remote)


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_and_its_attempts_are_spans(tmp_path: Path):
    """One for the call under its caller's, one under it for each attempt, all in one trace."""
    own = answering(0.2, v.FAULT, name="own")
    t = Traced(tmp_path, own=own, paid=answering(0.3, v.OK, name="paid"))
    t.house.chat(model="local", headers={"traceparent": GIVEN})
    call, failed, served = t.spans()
    assert {f"{s.context.trace_id:032x}" for s in (call, failed, served)} == {TRACE}
    assert call.parent is not None
    assert f"{call.parent.span_id:016x}" == SPAN
    assert failed.parent is not None
    assert failed.parent.span_id == call.context.span_id
    assert (call.name, call.kind) == ("chat local", SpanKind.SERVER)
    assert (failed.name, failed.kind) == ("chat small", SpanKind.CLIENT)
    assert (served.name, served.status.status_code) == ("chat gpt-4o-mini", StatusCode.UNSET)
    assert failed.status.status_code is StatusCode.ERROR
    lasted = [((s.end_time or 0) - (s.start_time or 0)) / 1e9 for s in (call, failed, served)]
    assert lasted == pytest.approx([0.5, 0.2, 0.3], abs=1e-3)
    trace = Trace(1, call.context.span_id, sampled=True)
    assert served.context.span_id == trace.attempt("paid")


def test_spans_speak_the_conventions_of_generative_ai(tmp_path: Path):
    """Operation, provider, models, tokens, status and error; cost and verdict in our own words."""
    t = Traced(tmp_path, own=answering(v.FAULT, name="own"))
    t.house.chat(model="local", max_tokens=7)
    call, failed, served = t.spans()
    assert told(call) | {"isocost.call.id": ""} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "local",
        "gen_ai.request.stream": False,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "isocost.attempts": 2,
        "isocost.backend": "paid",
        "isocost.call.id": "",
        "isocost.cost_usd": 2.1e-05,
        "isocost.key": "ann",
        "isocost.objective": "cheapest",
        "isocost.route": "local",
        "isocost.task": "chat",
        "isocost.team": "red",
        "isocost.verdict": "ok",
        "isocost.wire": "openai",
    }
    assert told(failed)["error.type"] == told(failed)["isocost.verdict"] == "fault"
    assert told(served) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "isocost.attempt": "failover",
        "isocost.backend": "paid",
        "isocost.cost_usd": 2.1e-05,
        "isocost.verdict": "ok",
        "server.address": "api.openai.com",
    }


def test_a_stream_tells_its_first_event(tmp_path: Path):
    """Seconds from the attempt's beginning."""
    t = Traced(tmp_path, paid=streaming(name="paid"))
    t.house.chat(stream=True)
    _, served = t.spans()
    assert told(served)["gen_ai.response.time_to_first_chunk"] == 0.0


def test_a_refused_call_has_a_span_without_attempts(tmp_path: Path):
    """What failed for our reasons is an error, what the client got wrong is none."""
    t = Traced(tmp_path, paid=answering(v.INVALID, name="paid"), own=answering(v.FAULT, name="own"))
    t.house.chat()
    t.house.ask(
        Client(json.dumps({"model": "labels", "input": "good"}).encode(), headers=ANN),
        "/v1/classify",
    )
    found = {told(s)["isocost.route"]: s for s in t.spans() if s.kind is SpanKind.SERVER}
    assert found["chat"].status.status_code is StatusCode.UNSET
    assert told(found["chat"])["http.response.status_code"] == 400
    assert found["labels"].status.status_code is StatusCode.ERROR


def test_no_text_and_no_secret_is_in_a_span(tmp_path: Path):
    """Neither the prompt, nor the answer, nor a key, nor what a vendor said."""
    t = Traced(tmp_path, own=answering(v.FAULT, name="own"))
    said = [{"role": "user", "content": "my s3cret prompt"}]
    t.house.chat(model="local", messages=said)
    text = json.dumps([json.loads(span.to_json()) for span in t.spans()])
    assert len(t.exporter.get_finished_spans()) == 3
    for secret in ("s3cret", '"hi"', "pst", "sk-vendor", "scripted"):
        assert secret not in text


def test_what_is_not_sampled_is_not_written(tmp_path: Path):
    """A caller that traces without sampling costs nothing but its header."""
    t = Traced(tmp_path)
    t.house.chat(headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert t.spans() == []
