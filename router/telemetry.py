"""Prometheus metrics. Names and labels are a public interface (docs/metrics.md).

Labels are routes, backends, verdicts and directions: all bounded by the configuration. Children
are bound once and kept, so that a call costs a few additions. With several worker processes the
counts are kept in files (`PROMETHEUS_MULTIPROC_DIR`) and added up by whichever worker is asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from router.core.ending import Ending
from router.core.money import PICO
from router.core.verdict import OK
from router.plan import Backend, Route

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
RATIO = (0.1, 0.25, 0.5, 0.8, 0.95, 1.05, 1.25, 2, 4, 10)
BREAKER = {"closed": 0, "half-open": 1, "open": 2}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Bound(dict[tuple[str, ...], Any]):
    """Children of one metric, bound at their first use."""

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Telemetry:
    """All metrics of the router. One per process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> _Bound:
            return _Bound(Counter(f"isocost_{name}", text, labels, registry=registry))

        def gauge(name: str, text: str, mode: Any, *labels: str) -> _Bound:
            return _Bound(
                Gauge(f"isocost_{name}", text, labels, registry=registry, multiprocess_mode=mode)
            )

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> _Bound:
            return _Bound(
                Histogram(f"isocost_{name}", text, labels, buckets=buckets, registry=registry)
            )

        self._calls = counter(
            "calls", "Calls by who answered and how it ended.", "route", "backend", "verdict"
        )
        self._refused = counter("refused", "Requests refused at a door.", "door", "status")
        self._attempts = counter("attempts", "Calls to backends.", "backend", "verdict")
        self._tokens = counter("tokens", "Tokens by direction.", "backend", "direction")
        self._cost = counter("cost_usd", "Dollars spent.", "route", "backend")
        self._baseline = counter("baseline_usd", "Dollars that the baseline would cost.", "route")
        self._saved = counter("saved_usd", "Dollars saved against the baseline.", "route")
        self._reloads = counter("config_reloads", "Reloads of the configuration.", "result")
        self._seconds = histogram("call_seconds", "Arrival to last byte.", SECONDS, "route")
        self._attempt = histogram("attempt_seconds", "Backend time.", SECONDS, "backend")
        self._first = histogram("first_event_seconds", "To first event.", SECONDS, "backend")
        self._overhead = Histogram(
            "isocost_overhead_seconds",
            "The router's own time per whole answer.",
            buckets=OVERHEAD,
            registry=registry,
        )
        self._cost_error = histogram(
            "cost_error_ratio", "Real over predicted cost.", RATIO, "backend"
        )
        self._time_error = histogram(
            "latency_error_ratio", "Real over predicted seconds.", RATIO, "backend"
        )
        self._in_flight = gauge("in_flight", "Calls at the backend now.", "livesum", "backend")
        self._breaker = gauge(
            "breaker_state", "0 closed, 1 half-open, 2 open.", "livemax", "backend"
        )
        self._up = gauge("backend_up", "By the backend's status page.", "livemin", "backend")
        self._queue = gauge("backend_queue", "Calls waiting inside it.", "livemax", "backend")

    def record(self, ending: Ending, route: Route | None) -> None:
        """Count one ended call."""
        name = route.name if route is not None else "(unknown)"
        self._calls[name, ending.backend or "(none)", ending.verdict.name].inc()
        self._seconds[name,].observe(ending.seconds)
        trail = ending.trail
        if trail is None:
            return
        backend_seconds = 0.0
        for attempt in trail.attempts:
            verdict = attempt.verdict
            self._attempts[attempt.backend, verdict.name if verdict else "fault"].inc()
            if attempt.cost:
                self._cost[name, attempt.backend].inc(attempt.cost / PICO)
            if attempt.sent:
                backend_seconds += attempt.seconds
                self._attempt[attempt.backend,].observe(attempt.seconds)
                if attempt.first is not None:
                    self._first[attempt.backend,].observe(attempt.first)
        if not ending.call.stream:
            self._overhead.observe(max(0.0, ending.seconds - backend_seconds))
        if ending.verdict is OK and route is not None:
            self._answered(ending, route)

    def _answered(self, ending: Ending, route: Route) -> None:
        usage, backend = ending.usage, ending.backend
        assert ending.trail is not None
        if usage is not None:
            self._tokens[backend, "input"].inc(usage.input_tokens)
            if usage.cached_tokens:
                self._tokens[backend, "cached"].inc(usage.cached_tokens)
            if usage.output_tokens:
                self._tokens[backend, "output"].inc(usage.output_tokens)
            if route.baseline is not None:
                baseline = route.baseline.price.of(usage)
                self._baseline[route.name,].inc(baseline / PICO)
                self._saved[route.name,].inc(max(0, baseline - ending.cost) / PICO)
        last = ending.trail.attempts[-1]
        for candidate in ending.trail.plan.candidates:
            if candidate.backend == backend:
                if candidate.cost > 0:
                    self._cost_error[backend,].observe(last.cost / candidate.cost)
                if candidate.seconds > 0:
                    self._time_error[backend,].observe(last.seconds / candidate.seconds)

    def refused(self, door: str, status: int) -> None:
        """Count a request that never became a call."""
        self._refused[door, str(status)].inc()

    def reloaded(self, result: str) -> None:
        self._reloads[result,].inc()

    def refresh(self, backends: Mapping[str, Backend]) -> None:
        """Bring the gauges up to date with the gates."""
        for backend in backends.values():
            gates, label = backend.gates, (backend.name,)
            self._in_flight[label].set(gates.in_flight.count)
            self._breaker[label].set(BREAKER[gates.breaker.state])
            self._up[label].set(gates.health.ready())
            self._queue[label].set(gates.health.queued)

    def page(self) -> bytes:
        """The metrics page, over all workers."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)
