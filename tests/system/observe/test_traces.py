"""Traces of a real router: sent as OTLP over HTTP, in its caller's trace, passed on where they may."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.system.router.harness import CHAT, Router, router, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("observe")]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "my s3cret"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}  # fmt: skip


class House:
    """A collector of traces and two backends, one of which fails; all on one port."""

    def __init__(self) -> None:
        self.resources: list[dict[str, str]] = []
        self.spans: list[Span] = []
        self.told: dict[str, list[str | None]] = {}
        house = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = 200, b""
                if self.path == "/v1/traces":
                    house.collect(body)
                else:
                    name = self.path.split("/")[1]
                    house.told.setdefault(name, []).append(self.headers["traceparent"])
                    status, answer = (
                        (500, b"{}") if name == "bad" else (200, json.dumps(ANSWER).encode())
                    )
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def collect(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append(
                {a.key: a.value.string_value for a in resource.resource.attributes}
            )
            for scope in resource.scope_spans:
                self.spans += scope.spans


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.server.shutdown()


def config(house: House, **more: Any) -> dict[str, Any]:
    def made(name: str, **changes: Any) -> dict[str, Any]:
        base = f"{house.url}/{name}/v1"
        price = {"per_call_usd": 0.001}
        return {
            "api": "openai",
            "model": "m",
            "base": base,
            "tasks": ["chat"],
            "price": price,
        } | changes

    return {
        "backends": {
            "bad": made("bad", local=True, price={"per_call_usd": 0.0001}),
            "good": made("good"),
        },
        "routes": {"chat": {"task": "chat", "backends": ["bad", "good"]}},
    } | more


def chat(made: Router) -> str:
    """One call within a trace; its id."""
    done = made.sdk().chat.completions.with_raw_response.create(
        model="chat",
        messages=CHAT,  # type: ignore[arg-type]
        extra_headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
    )
    return done.headers["x-isocost-call-id"]


def test_a_call_is_traced_from_its_caller_to_its_backends(house: House, tmp_path: Path):
    """A span of the call and of each attempt reach the collector; own backends get the trace, vendors not."""
    server = {"log": "json", "log_calls": True}
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": house.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with router(tmp_path, config(house, tracing={}, server=server), **env) as made:
        call_id = chat(made)
        until(lambda: len(house.spans) == 3, what="spans")
        made.program.send(signal.SIGTERM)
        log = until(lambda: [x for x in _lines(made) if x["message"] == "call"], what="the line")
    call, bad, good = sorted(house.spans, key=lambda s: s.start_time_unix_nano)
    assert {s.trace_id.hex() for s in house.spans} == {TRACE}
    assert call.parent_span_id.hex() == SPAN
    assert {s.parent_span_id for s in (bad, good)} == {call.span_id}
    assert [s.name for s in (call, bad, good)] == ["chat chat", "chat m", "chat m"]
    assert bad.status.code == 2
    assert house.told == {"bad": [f"00-{TRACE}-{bad.span_id.hex()}-01"], "good": [None]}
    assert house.resources[0]["service.name"] == "isocost"
    assert house.resources[0]["deployment.environment"] == "test"
    assert (log[0]["id"], log[0]["trace_id"]) == (call_id, TRACE)
    text = "".join(map(str, house.spans)) + made.program.log.read_text()
    assert "s3cret" not in text
    assert CHAT[0]["content"] not in text


def _lines(made: Router) -> list[dict[str, Any]]:
    lines = made.program.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_collector_that_is_away_holds_up_nobody(house: House, tmp_path: Path):
    """Calls are served, and the router ends in time."""
    tracing = {"endpoint": "http://127.0.0.1:9/v1/traces", "callers": "ignore"}
    with router(tmp_path, config(house, tracing=tracing)) as made:
        chat(made)
        assert made.program.stop(15.0) == 0
    (told,) = house.told["bad"]
    assert told is not None
    assert TRACE not in told


def test_without_traces_nothing_is_passed_on(house: House, tmp_path: Path):
    """Off is off, whatever a client sends; the log is text."""
    with router(tmp_path, config(house), "--log", "text") as made:
        chat(made)
    assert house.told == {"bad": [None], "good": [None]}
    assert house.spans == []
