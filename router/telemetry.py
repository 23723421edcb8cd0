"""Prometheus metrics. Names and labels are a public interface (docs/metrics.md).

Labels are routes, backends, verdicts and directions: all bounded by the configuration. A call
adds to plain numbers, which are flushed to the metrics each second and before a page is made.
With several worker processes the counts are kept in files (`PROMETHEUS_MULTIPROC_DIR`) and added
up by whichever worker is asked.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from router.cache.stores import Stores
from router.core.call import Call
from router.core.ending import Ending
from router.core.money import PICO
from router.core.verdict import OK, REJECTED
from router.gates.admission import Process
from router.plan import Backend, Route, baseline_cost

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
RATIO = (0.1, 0.25, 0.5, 0.8, 0.95, 1.05, 1.25, 2, 4, 10)
BREAKER = {"closed": 0, "half-open": 1, "open": 2}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Counts(dict[tuple[str, ...], float]):
    """A counter's increments since the last flush: adding here costs a tenth of adding there."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], registry: Any) -> None:
        super().__init__()
        self._counter = Counter(f"isocost_{name}", text, labels, registry=registry)

    def __missing__(self, labels: tuple[str, ...]) -> float:
        return 0.0

    def add(self, amount: int, *labels: str) -> None:
        """Count *amount*, which is mostly none."""
        if amount:
            self[labels] += amount

    def flush(self) -> None:
        for labels, amount in self.items():
            self._counter.labels(*labels).inc(amount)
        self.clear()


class _Times(defaultdict[tuple[str, ...], list[float]]):
    """A histogram's observations since the last flush."""

    def __init__(self, name: str, text: str, bins: Any, labels: Any, registry: Any) -> None:
        super().__init__(list)
        self._histogram = Histogram(
            f"isocost_{name}", text, labels, buckets=bins, registry=registry
        )

    def flush(self) -> None:
        for labels, seen in self.items():
            child = self._histogram.labels(*labels) if labels else self._histogram
            for value in seen:
                child.observe(value)
        self.clear()


class Telemetry:
    """All metrics of the router. One per process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._counts: list[_Counts] = []
        self._times: list[_Times] = []

        def counter(name: str, text: str, *labels: str) -> _Counts:
            self._counts.append(_Counts(name, text, labels, registry))
            return self._counts[-1]

        def histogram(name: str, text: str, bins: tuple[float, ...], *labels: str) -> _Times:
            self._times.append(_Times(name, text, bins, labels, registry))
            return self._times[-1]

        def gauge(name: str, text: str, mode: Any) -> Gauge:
            return Gauge(
                f"isocost_{name}", text, ["backend"], registry=registry, multiprocess_mode=mode
            )

        def plain(name: str, text: str, mode: Any) -> Gauge:
            return Gauge(f"isocost_{name}", text, registry=registry, multiprocess_mode=mode)

        self._calls = counter(
            "calls", "Calls by who answered and how it ended.", "route", "backend", "verdict"
        )
        self._refused = counter("refused", "Requests refused at a door.", "door", "status")
        self._attempts = counter("attempts", "Calls to backends.", "backend", "verdict")
        self._extra = counter(
            "extra_attempts",
            "Attempts beyond a call's first, by why they were made.",
            "backend",
            "kind",
        )
        self._tokens = counter("tokens", "Tokens by direction.", "backend", "direction")
        self._cost = counter("cost_usd", "Dollars spent.", "route", "backend")
        self._baseline = counter("baseline_usd", "Dollars that the baseline would cost.", "route")
        self._saved = counter("saved_usd", "Dollars saved against the baseline.", "route")
        self._shed = counter(
            "shed", "Calls refused because too much was in progress.", "criticality", "route"
        )
        self._ledger = counter("ledger_events", "What the ledger told, by kind.", "kind")
        self._ledger_up = plain(
            "ledger_up", "Whether the store of money was reached when last asked.", "livemin"
        )
        self._cache = counter(
            "cache_answers", "Answers by what the cache had to do with them.", "route", "state"
        )
        self._cache_errors = counter("cache_store_errors", "Failures of the shared cache.", "kind")
        self._cache_bytes = plain("cache_bytes", "Bytes of answers that are kept.", "livesum")
        self._cache_entries = plain("cache_entries", "Answers that are kept.", "livesum")
        self._cache_up = plain("cache_store_up", "Whether the shared cache is there.", "livemin")
        self._reloads = counter("config_reloads", "Reloads of the configuration.", "result")
        self._seconds = histogram("call_seconds", "Arrival to last byte.", SECONDS, "route")
        self._attempt = histogram("attempt_seconds", "Backend time.", SECONDS, "backend")
        self._first = histogram("first_event_seconds", "To first event.", SECONDS, "backend")
        self._overhead = histogram("overhead_seconds", "The router's own time.", OVERHEAD)
        self._cost_error = histogram(
            "cost_error_ratio", "Real over predicted cost.", RATIO, "backend"
        )
        self._time_error = histogram(
            "latency_error_ratio", "Real over predicted seconds.", RATIO, "backend"
        )
        self._in_flight = gauge("in_flight", "Calls at the backend now.", "livesum")
        self._limit = gauge("limit", "Calls that may be at the backend now.", "livesum")
        self._progress = plain("process_in_flight", "Calls in progress.", "livesum")
        self._allowed = plain("process_limit", "Calls that may be in progress.", "livesum")
        self._breaker = gauge("breaker_state", "0 closed, 1 half-open, 2 open.", "livemax")
        self._up = gauge("backend_up", "By the backend's status page.", "livemin")
        self._queue = gauge("backend_queue", "Calls waiting inside it.", "livemax")

    def record(self, call: Call, ending: Ending, route: Route | None) -> None:
        """Count one ended call."""
        name = route.name if route is not None else "(unknown)"
        self._calls[name, ending.backend or "(none)", ending.verdict.name] += 1
        self._seconds[name,].append(ending.seconds)
        trail = ending.trail
        self._shed.add(_shed(ending), call.criticality, name)
        if trail is None:
            return
        backend_seconds = 0.0
        for attempt in trail.attempts:
            verdict, backend = attempt.verdict, attempt.backend
            self._attempts[backend, verdict.name if verdict else "fault"] += 1
            if attempt.cost:
                self._cost[name, backend] += attempt.cost / PICO
            if attempt.sent:
                if attempt.kind != "first":
                    self._extra[backend, attempt.kind] += 1
                backend_seconds += attempt.seconds
                self._attempt[backend,].append(attempt.seconds)
                if attempt.first is not None:
                    self._first[backend,].append(attempt.first)
        if ending.cache:
            self._cache[name, ending.cache] += 1
        if not call.stream and ending.cache != "shared":  # that one waited for an equal call
            self._overhead[()].append(max(0.0, ending.seconds - backend_seconds))
        if ending.verdict is OK and route is not None:
            self._answered(ending, route)

    def _answered(self, ending: Ending, route: Route) -> None:
        usage, backend, trail = ending.usage, ending.backend, ending.trail
        assert trail is not None
        if usage is not None:
            self._tokens[backend, "input"] += usage.input_tokens
            if usage.cached_tokens:
                self._tokens[backend, "cached"] += usage.cached_tokens
            if usage.output_tokens:
                self._tokens[backend, "output"] += usage.output_tokens
            baseline = baseline_cost(route, trail, usage)
            if baseline is not None:
                self._baseline[route.name,] += baseline / PICO
                self._saved[route.name,] += max(0, baseline - ending.cost) / PICO
        if not trail.attempts:
            return  # the cache answered
        last = trail.attempts[-1]
        for candidate in trail.plan.candidates:
            if candidate.backend == backend:
                if candidate.cost > 0:
                    self._cost_error[backend,].append(last.cost / candidate.cost)
                if candidate.seconds > 0:
                    self._time_error[backend,].append(last.seconds / candidate.seconds)

    def refused(self, door: str, status: int) -> None:
        """Count a request that never became a call."""
        self._refused[door, str(status)] += 1

    def told(self, kind: str) -> None:
        """Count an event of the ledger."""
        self._ledger[kind,] += 1

    def ledger_is(self, *, up: bool) -> None:
        self._ledger_up.set(up)

    def cached(self, stores: Stores) -> None:
        """Bring the page up to date with what is kept."""
        self._cache_bytes.set(stores.memory.bytes)
        self._cache_entries.set(len(stores.memory))
        if stores.shared is not None:
            self._cache_up.set(stores.shared.up)
            for kind, more in stores.shared.told().items():
                self._cache_errors[kind,] += more

    def reloaded(self, result: str) -> None:
        self._reloads[result,] += 1

    def refresh(self, backends: Mapping[str, Backend], admission: Process) -> None:
        """Bring the page up to date with the gates and with what was counted since."""
        for counts in self._counts:
            counts.flush()
        for times in self._times:
            times.flush()
        self._progress.set(admission.count)
        self._allowed.set(admission.limit)
        for backend in backends.values():
            gates, label = backend.gates, (backend.name,)
            self._in_flight.labels(*label).set(gates.in_flight.count)
            limit = gates.in_flight if gates.admission is None else gates.admission
            self._limit.labels(*label).set(limit.limit)
            self._breaker.labels(*label).set(BREAKER[gates.breaker.state])
            self._up.labels(*label).set(gates.health.ready())
            self._queue.labels(*label).set(gates.health.queued)

    def page(self) -> bytes:
        """The metrics page, over all workers."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


def _shed(ending: Ending) -> bool:
    """Whether the process, or a backend that could have served, had no room for it."""
    trail = ending.trail
    if ending.status != 503:
        return False
    if trail is None:
        return ending.verdict is REJECTED
    return any(candidate.left == "full" for candidate in trail.plan.candidates)
