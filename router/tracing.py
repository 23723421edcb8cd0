"""OpenTelemetry traces: one span per call, one per attempt, written when the call is over.

The way of a call knows nothing of spans: it carries a `Trace`, three numbers, and only while traces
are on. When it has ended, its trail says what happened and when, and the spans are made of that.
Names of attributes are those of OpenTelemetry's conventions for generative AI (`gen_ai.*`; all of
them in development as of 1.42, November 2026) and, for what those do not know, `isocost.*`.

No text of a call, no message of a vendor and no secret is in a span: only names, numbers and
verdicts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from importlib.util import find_spec
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from router import VERSION, apis
from router.config import Config, ConfigError, TracingConfig
from router.core.call import Call, Usage
from router.core.ending import Ending
from router.core.money import PICO
from router.core.task import Task
from router.core.trace import Parent, Trace, parent
from router.core.trail import Attempt
from router.core.verdict import CANCELLED, OK

log = logging.getLogger("isocost")
OPERATIONS: dict[Task, str] = {
    "chat": "chat",
    "complete": "text_completion",
    "embed": "embeddings",
}
"""Our tasks in the words of the conventions; they have none for the others, which keep ours."""
FLUSH = 3.0
"""Seconds that a stop waits for the last spans to be sent."""
NEEDED = "traces need the package's extra: pip install 'isocost[otel]'"
_NANO = 10**9


def possible(config: Config) -> None:
    """Raises ConfigError when traces are configured and what makes them is not installed."""
    if config.tracing is None:
        return
    try:
        made = find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ModuleNotFoundError:
        made = None
    if made is None:
        raise ConfigError(f"tracing: {NEEDED}")


def traced(config: Config, env: Mapping[str, str]) -> Tracing | None:
    """Traces as configured; None while they are off. Raises ConfigError without the extra."""
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if config.tracing is None or off:
        return None
    possible(config)
    tracing = Tracing(config.tracing)
    tracing.learn(config)
    return tracing


class Tracing:
    """Makes a `Trace` of each call that comes, and spans of each that has ended."""

    def __init__(self, spec: TracingConfig, exporter: Any = None) -> None:
        """*exporter* takes the place of OTLP over HTTP."""
        from router import spans  # noqa: PLC0415 - needs an extra

        self._follow = spec.callers == "follow"
        self._sampled = spans.sampler(spec.sample)
        self._ids = spans.Ids()
        self._provider = spans.provider(
            spec.service, self._ids, exporter or spans.otlp(spec.endpoint)
        )
        self._tracer = self._provider.get_tracer("isocost", VERSION)
        self._about: dict[str, dict[str, Any]] = {}

    def learn(self, config: Config) -> None:
        """What is said of each backend with every attempt, worked out at load."""
        for name, spec in config.backends.items():
            about: dict[str, Any] = {
                "gen_ai.provider.name": spec.api,
                "gen_ai.request.model": spec.model,
            }
            places = {name: spec.base or apis.load(spec.api).base}
            if spec.sandbox:
                places[f"{name}-sandbox"] = spec.sandbox.base
            for place, base in places.items():
                at = urlsplit(base).hostname  # of an address only what holds no secret
                where = {"server.address": at} if at else {}
                self._about[place] = about | where | {"isocost.backend": place}

    def begin(self, headers: Mapping[bytes, bytes]) -> Trace:
        """The trace of a call that has arrived with these headers."""
        above = parent(headers.get(b"traceparent"), headers.get(b"tracestate"))
        if above is None or not self._follow:
            above = None
            trace_id = random.getrandbits(128) or 1
        else:
            trace_id = above.trace_id
        sampled = self._sampled(above, trace_id)
        span_id = random.getrandbits(64) or 1
        return Trace(trace_id, span_id, sampled, above, above.state if above else "")

    def record(self, call: Call, ending: Ending) -> None:
        """Write the spans of an ended call. Never waits, never raises."""
        trace = call.trace
        if trace is None or not trace.sampled:
            return
        try:
            self._write(call, ending, trace)
        except Exception:
            log.exception("spans of call %s could not be written", call.id)

    def _write(self, call: Call, ending: Ending, trace: Trace) -> None:
        over = time.time_ns()
        began = over - round(ending.seconds * _NANO)
        span = self._ids.span(
            self._tracer, trace.trace_id, trace.span_id, trace.parent,
            name=f"{OPERATIONS.get(call.task, call.task)} {call.route}",
            kind="SERVER", began=began, attributes=_of_call(call, ending),
        )  # fmt: skip
        here = Parent(trace.trace_id, trace.span_id, True, trace.state, remote=False)  # noqa: FBT003
        seen: set[str] = set()
        for attempt in ending.trail.attempts if ending.trail else ():
            # A backend that was asked twice: only the first has the id that was told to it.
            again = attempt.backend in seen
            seen.add(attempt.backend)
            start = began + round((attempt.began - call.arrived) * _NANO)
            child = self._ids.span(
                self._tracer, trace.trace_id,
                random.getrandbits(64) if again else trace.attempt(attempt.backend),
                here,
                name=f"{OPERATIONS.get(call.task, call.task)} {self._model(attempt.backend)}",
                kind="CLIENT" if attempt.sent else "INTERNAL", began=start,
                attributes=self._of_attempt(call, ending, attempt),
            )  # fmt: skip
            if attempt.verdict not in {OK, CANCELLED, None}:
                self._ids.fail(child)
            child.end(min(over, start + round(attempt.seconds * _NANO)))
        if ending.status >= 500 or ending.verdict.name in {"fault", "lost"}:
            self._ids.fail(span)
        span.end(over)

    def _model(self, backend: str) -> str:
        return str(self._about.get(backend, {}).get("gen_ai.request.model", backend))

    def _of_attempt(self, call: Call, ending: Ending, attempt: Attempt) -> dict[str, Any]:
        verdict = attempt.verdict.name if attempt.verdict else "fault"
        found = {
            "gen_ai.operation.name": OPERATIONS.get(call.task, call.task),
            **self._about.get(attempt.backend, {"isocost.backend": attempt.backend}),
            "isocost.attempt": attempt.kind,
            "isocost.verdict": verdict,
            "isocost.cost_usd": attempt.cost / PICO,
        }
        if attempt.first is not None:
            found["gen_ai.response.time_to_first_chunk"] = attempt.first
        if attempt.verdict is not OK:
            found["error.type"] = verdict
        elif attempt.backend == ending.backend and ending.usage is not None:
            found |= _of_usage(ending.usage)
        return found

    def close(self) -> None:
        """Send what is left, for `FLUSH` seconds at most: a collector may be away."""
        # A thread that does not keep the process alive: the exporter tries on in its own time.
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH)


def _of_call(call: Call, ending: Ending) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(call.task, call.task),
        "gen_ai.request.model": call.route,
        "gen_ai.request.stream": call.stream,
        "http.request.method": "POST",
        "http.response.status_code": ending.status,
        "isocost.call.id": call.id,
        "isocost.wire": call.wire,
        "isocost.route": call.route,
        "isocost.task": call.task,
        "isocost.backend": ending.backend or "(none)",
        "isocost.verdict": ending.verdict.name,
        "isocost.cost_usd": ending.cost / PICO,
    }
    if call.path:
        found["http.route"] = call.path
    if call.key is not None:
        found |= {"isocost.key": call.key.name, "isocost.team": call.key.team}
    if ending.cache:
        found["isocost.cache"] = ending.cache
    if call.output_limit:
        found["gen_ai.request.max_tokens"] = call.output_limit
    if ending.verdict is not OK:
        found["error.type"] = ending.verdict.name
    if ending.trail is not None:
        found["isocost.attempts"] = ending.trail.sent
        found["isocost.objective"] = ending.trail.plan.objective
    if ending.usage is not None:
        found |= _of_usage(ending.usage)
    return found


def _of_usage(usage: Usage) -> dict[str, Any]:
    named = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.written_tokens,
        "isocost.usage.characters": usage.characters,
        "isocost.usage.seconds": usage.seconds,
        "isocost.usage.images": usage.images,
    }
    return {name: value for name, value in named.items() if value}
