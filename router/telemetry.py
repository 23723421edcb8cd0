"""Prometheus metrics. Names and labels are a public interface (docs/metrics.md).

Labels are routes, backends, teams, verdicts and other words of ours: all bounded by the
configuration and the keys that were made, never by what a client says. A call
adds to plain numbers, which are flushed to the metrics each second and before a page is made.
With several worker processes the counts are kept in files (`PROMETHEUS_MULTIPROC_DIR`) and added
up by whichever worker is asked.

A page in OpenMetrics also carries exemplars: for each route the trace of its newest traced call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, get_args

import msgspec
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from router import VERSION
from router.cache.stores import Stores
from router.core.call import Call
from router.core.ending import Ending
from router.core.money import PICO
from router.core.trail import Trail
from router.core.verdict import OK, REJECTED
from router.counting import Counts, Times
from router.gates.admission import Process
from router.gauges import Facts, Gates
from router.ledger.record import EventKind
from router.plan import UNPRICED, baseline_cost
from router.promised import judged
from router.route import Backend, Route

# From an answer out of memory, by a lone embedding (10 ms), to a long recording.
SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 20, 30, 60, 120, 300),
)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25, 1)
UNKNOWN = "(unknown)"
RATIO = (0.1, 0.25, 0.5, 0.8, 0.95, 1.05, 1.25, 2, 4, 10)


class _Facts(msgspec.Struct, frozen=True):
    """What is asked of a route with every call, worked out once."""

    route: Route
    paid: frozenset[str]
    """Backends that bill each call."""
    own: bool
    """It also has a machine of one's own."""


class Telemetry:
    """All metrics of the router. One per process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._counts: list[Counts] = []
        self._times: list[Times] = []

        def counter(name: str, text: str, *labels: str) -> Counts:
            self._counts.append(Counts(name, text, labels, registry))
            return self._counts[-1]

        def histogram(name: str, text: str, bins: tuple[float, ...], *labels: str) -> Times:
            self._times.append(Times(name, text, bins, labels, registry))
            return self._times[-1]

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
        self._team_cost = counter("team_cost_usd", "Dollars spent.", "team")
        self._team_saved = counter("team_saved_usd", "Dollars saved.", "team")
        self._spill = counter(
            "spill_usd", "Dollars paid to vendors on routes with a machine of one's own.", "route"
        )
        self._promised = counter(
            "promised_calls", "Calls that tell whether a promise is kept.", "route", "promise"
        )
        self._broken = counter("broken_promises", "Those that broke it.", "route", "promise")
        self._left = counter("left", "Backends that a plan left.", "backend", "reason")
        self._unpriced = counter("unpriced", "Calls left for want of a price.", "backend")
        self._ledger = counter("ledger_events", "What the ledger told, by kind.", "kind")
        self._ledger_up: Gauge | None = None
        self._cache = counter(
            "cache_answers", "Answers by what the cache had to do with them.", "route", "state"
        )
        self._cache_errors = counter("cache_store_errors", "Failures of the shared cache.", "kind")
        self._cache_bytes = self._plain("cache_bytes", "Bytes of answers that are kept.", "livesum")
        self._cache_entries = self._plain("cache_entries", "Answers that are kept.", "livesum")
        self._cache_up: Gauge | None = None
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
        self._gates = Gates(registry)
        self.facts = Facts(VERSION)
        registry.register(self.facts)
        self._of: dict[str, _Facts] = {}
        for kind in get_args(EventKind):
            self._ledger[kind,] += 0
        for result in ("loaded", "refused"):
            self._reloads[result,] += 0

    def _plain(self, name: str, text: str, mode: Any) -> Gauge:
        return Gauge(f"isocost_{name}", text, registry=self.registry, multiprocess_mode=mode)

    def record(self, call: Call, ending: Ending, route: Route | None) -> None:
        """Count one ended call."""
        name = route.name if route is not None else UNKNOWN
        self._calls[name, ending.backend or "(none)", ending.verdict.name] += 1
        self._seconds[name,].append(ending.seconds)
        if call.trace is not None and call.trace.sampled:
            self._seconds.traces[name,] = (ending.seconds, call.trace.name)
        if route is not None:
            for owed, kept in judged(call, ending, route):
                self._promised[name, owed] += 1
                # Counted from 0 on: a rate sees only what comes after the first sample.
                self._broken[name, owed] += not kept
        trail = ending.trail
        self._shed.add(_shed(ending), call.criticality, name)
        if trail is None:
            return
        self._weighed(trail)
        backend_seconds = self._tried(call, trail, route)
        if ending.cache:
            self._cache[name, ending.cache] += 1
        if not call.stream and ending.cache != "shared":  # that one waited for an equal call
            self._overhead[()].append(max(0.0, ending.seconds - backend_seconds))
        if ending.verdict is OK and route is not None:
            self._answered(call, ending, route)

    def _tried(self, call: Call, trail: Trail, route: Route | None) -> float:
        """Count the attempts; the seconds in which any backend was being waited for."""
        name = route.name if route is not None else UNKNOWN
        facts = self._known(route) if route is not None else None
        seconds = until = 0.0
        for attempt in trail.attempts:
            verdict, backend = attempt.verdict, attempt.backend
            self._attempts[backend, verdict.name if verdict else "fault"] += 1
            if attempt.cost:
                self._spent(name, backend, call, attempt.cost / PICO)
                if facts is not None and facts.own and backend in facts.paid:
                    self._spill[name,] += attempt.cost / PICO
            if attempt.sent:
                if attempt.kind != "first":
                    self._extra[backend, attempt.kind] += 1
                ended = attempt.began + attempt.seconds
                seconds += max(0.0, ended - max(attempt.began, until))  # hedges run beside others
                until = max(until, ended)
                self._attempt[backend,].append(attempt.seconds)
                if attempt.first is not None:
                    self._first[backend,].append(attempt.first)
        return seconds

    def _weighed(self, trail: Trail) -> None:
        """Why backends were left."""
        for candidate in trail.plan.candidates:
            if candidate.left:
                self._left[candidate.backend, candidate.left] += 1
                if candidate.why.startswith(UNPRICED):
                    self._unpriced[candidate.backend,] += 1

    def _known(self, route: Route) -> _Facts:
        facts = self._of.get(route.name)
        if facts is None or facts.route is not route:
            paid = frozenset(b.name for b in route.backends if not b.price.free)
            facts = _Facts(route, paid, any(b.price.free for b in route.backends))
            self._of[route.name] = facts
        return facts

    def _spent(self, route: str, backend: str, call: Call, dollars: float) -> None:
        self._cost[route, backend] += dollars
        if call.key is not None:
            self._team_cost[call.key.team,] += dollars

    def _save(self, call: Call, route: Route, dollars: float) -> None:
        self._saved[route.name,] += dollars
        if call.key is not None:
            self._team_saved[call.key.team,] += dollars

    def _answered(self, call: Call, ending: Ending, route: Route) -> None:
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
                self._save(call, route, max(0, baseline - ending.cost) / PICO)
        last = next((a for a in reversed(trail.attempts) if a.verdict is OK), None)
        if last is None:
            return  # the cache answered
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
        """Tell whether the store is there; where no money is kept, nobody does."""
        if self._ledger_up is None:
            text = "Whether the store of money was reached when last asked."
            self._ledger_up = self._plain("ledger_up", text, "livemin")
        self._ledger_up.set(up)

    def cached(self, stores: Stores) -> None:
        """Bring the page up to date with what is kept."""
        self._cache_bytes.set(stores.memory.bytes)
        self._cache_entries.set(len(stores.memory))
        if stores.shared is not None:
            if self._cache_up is None:
                text = "Whether the shared cache is there."
                self._cache_up = self._plain("cache_store_up", text, "livemin")
            self._cache_up.set(stores.shared.up)
            for kind, more in stores.shared.told().items():
                self._cache_errors[kind,] += more

    def reloaded(self, result: str) -> None:
        self._reloads[result,] += 1
        self.facts.loaded = result == "loaded"

    def refresh(
        self, backends: Mapping[str, Backend], routes: Mapping[str, Route], admission: Process
    ) -> None:
        """Bring the page up to date with the gates and with what was counted since."""
        if routes is not self.facts.routes:
            self._begin(routes)
        for counts in self._counts:
            counts.flush()
        for times in self._times:
            times.flush()
        self.facts.backends, self.facts.routes = backends, routes
        self._gates.refresh(backends, routes, admission)

    def _begin(self, routes: Mapping[str, Route]) -> None:
        """Count money from 0: a rate sees only what comes after a first sample."""
        for name, route in routes.items():
            facts = self._known(route)
            for backend in route.backends:
                self._cost[name, backend.name] += 0
                if not backend.price.free:
                    self._unpriced[backend.name,] += 0
            if facts.own and facts.paid:
                self._spill[name,] += 0
            if route.baseline is not None:
                self._baseline[name,] += 0
                self._saved[name,] += 0

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics page over all workers in the form that is accepted, and its content type."""
        write, content_type = choose_encoder(accept)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return write(self.registry), content_type
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        merged.register(self.facts)
        return write(merged), content_type


def _shed(ending: Ending) -> bool:
    """Whether the process, or a backend that could have served, had no room for it."""
    trail = ending.trail
    if ending.status != 503:
        return False
    if trail is None:
        return ending.verdict is REJECTED
    return any(candidate.left == "full" for candidate in trail.plan.candidates)
