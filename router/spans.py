"""The parts of OpenTelemetry's SDK that traces need, behind our own ids and times.

Its tracer gives spans random ids; ours were told to backends before the span exists, so the
provider asks `Ids`, which hands out the one that was set the moment before. All of it runs in the
loop, so nobody comes between. Imported only while traces are on: the SDK is an extra.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from router.core.trace import Parent


class Ids(IdGenerator):
    """Gives the next span the ids that it has been told to have."""

    def __init__(self) -> None:
        self._trace_id = self._span_id = 0

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id

    def span(
        self,
        tracer: Tracer,
        trace_id: int,
        span_id: int,
        above: Parent | None,
        *,
        name: str,
        kind: str,
        began: int,
        attributes: dict[str, Any],
    ) -> Span:
        """A span that began at *began*, unix nanoseconds."""
        self._trace_id, self._span_id = trace_id, span_id
        return tracer.start_span(
            name,
            set_span_in_context(NonRecordingSpan(_context(above))) if above else None,
            SpanKind[kind],
            attributes,
            start_time=began,
        )

    def fail(self, span: Span) -> None:
        span.set_status(Status(StatusCode.ERROR))


def _context(above: Parent) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if above.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([above.state]) if above.state else None
    return SpanContext(above.trace_id, above.span_id, above.remote, flags, state)


def provider(service: str | None, ids: Ids, exporter: SpanExporter) -> TracerProvider:
    """Makes spans of everything it is given: whether a call is sampled was decided as it came."""
    # Named by the configuration, else OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, else isocost.
    resource = Resource.create({SERVICE_NAME: service} if service else None)
    named = str(resource.attributes.get(SERVICE_NAME, ""))
    if named.startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "isocost"}))
    made = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=ids)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def otlp(endpoint: str | None) -> SpanExporter:
    """OTLP over HTTP; all else of it is told by OTEL_EXPORTER_OTLP_*."""
    return OTLPSpanExporter(endpoint)


def sampler(share: float | None) -> Callable[[Parent | None, int], bool]:
    """Whether a trace is kept: by the share of new ones, or by OTEL_TRACES_SAMPLER."""
    rule: Sampler
    if share is None:
        rule = TracerProvider(shutdown_on_exit=False).sampler
    else:
        rule = ParentBased(TraceIdRatioBased(share))

    def sampled(above: Parent | None, trace_id: int) -> bool:
        context = set_span_in_context(NonRecordingSpan(_context(above))) if above else None
        return rule.should_sample(context, trace_id, "call").decision is Decision.RECORD_AND_SAMPLE

    return sampled
