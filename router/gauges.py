"""What is so at this moment, as metrics: gates, promises, prices, budgets.

Gauges of gates are told by every worker and merged (see `telemetry`). What the configuration and
the store say is the same for all workers, so whichever is asked for the page says it: nothing of it
is kept, and what left the configuration is gone from the next page.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.core.money import PICO
from router.gates.admission import Process
from router.ledger.books import BudgetRow, Watched
from router.ledger.budget import EACH, Budget, Scope, place, span
from router.route import Backend, Route

BREAKER = {"closed": 0, "half-open": 1, "open": 2}
CALM = {"in_flight": 0, "limit": 0, "breaker_state": 0, "backend_up": 1, "backend_queue": 0}
"""What is said of a backend that left, where a gauge cannot be taken back."""
NOTHING: Watched = Watched((), {})


class Gates:
    """What the gates of each backend and route say now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, label: str, mode: Any) -> Gauge:
            return Gauge(
                f"isocost_{name}", text, [label], registry=registry, multiprocess_mode=mode
            )

        self._of_backend = {
            "in_flight": gauge("in_flight", "Calls at the backend now.", "backend", "livesum"),
            "limit": gauge("limit", "Calls that may be at the backend now.", "backend", "livesum"),
            "breaker_state": gauge(
                "breaker_state", "0 closed, 1 half-open, 2 open.", "backend", "livemax"
            ),
            "backend_up": gauge(
                "backend_up", "By the backend's status page.", "backend", "livemin"
            ),
            "backend_queue": gauge(
                "backend_queue", "Calls waiting inside it.", "backend", "livemax"
            ),
        }
        self._ready = gauge(
            "route_ready_backends", "Backends with a closed breaker that are up.",
            "route", "livemin",
        )  # fmt: skip
        self._progress = Gauge(
            "isocost_process_in_flight", "Calls in progress.",
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._allowed = Gauge(
            "isocost_process_limit", "Calls that may be in progress.",
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._tasks = Gauge(
            "isocost_tasks", "Tasks of the event loop.",
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._backends: set[str] = set()
        self._routes: set[str] = set()

    def refresh(
        self, backends: Mapping[str, Backend], routes: Mapping[str, Route], admission: Process
    ) -> None:
        """Bring all of them up to date."""
        of = self._of_backend
        self._progress.set(admission.count)
        self._allowed.set(admission.limit)
        self._tasks.set(_tasks())
        for backend in backends.values():
            gates, name = backend.gates, backend.name
            of["in_flight"].labels(name).set(gates.in_flight.count)
            limit = gates.in_flight if gates.admission is None else gates.admission
            of["limit"].labels(name).set(limit.limit)
            of["breaker_state"].labels(name).set(BREAKER[gates.breaker.state])
            of["backend_up"].labels(name).set(gates.health.ready())
            of["backend_queue"].labels(name).set(gates.health.queued)
        for route in routes.values():
            able = sum(
                b.gates.breaker.state == "closed" and b.gates.health.ready() for b in route.backends
            )
            self._ready.labels(route.name).set(able)
        names = {b.name for b in backends.values()}
        for gone in self._backends - names:
            for name, gauge in of.items():
                _leave(gauge, gone, CALM[name])
        for gone in self._routes - routes.keys():
            _leave(self._ready, gone, 1)
        self._backends, self._routes = names, set(routes)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop runs
        return 0


def _leave(gauge: Gauge, label: str, calm: float) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        gauge.labels(label).set(calm)  # a file of several processes forgets nothing
    else:
        gauge.remove(label)


class Facts(Collector):
    """What the configuration and the store of money say."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.backends: Mapping[str, Backend] = {}
        self.routes: Mapping[str, Route] = {}
        self.loaded = True
        self.frozen: frozenset[str] = frozenset()
        """Backends, as the configuration names them, whose price is frozen."""
        self._budgets: tuple[Budget, ...] = ()
        self._watched, self._now = NOTHING, 0.0

    def books(self, budgets: Iterable[Budget], watched: Watched, now: float) -> None:
        """What the store said at *now*, unix seconds."""
        self._budgets, self._watched, self._now = tuple(budgets), watched, now

    def collect(self) -> Iterator[Metric]:
        yield _family("build_info", "Always 1; the version of the router.", ["version"],
                      [((self._version,), 1)])  # fmt: skip
        yield _family("config_loaded", "0: the file has a fault, the last good one serves.", [],
                      [((), self.loaded)])  # fmt: skip
        yield from self._of_backends()
        yield from self._of_routes()
        yield from self._of_budgets()
        states = self._watched.attempts
        yield _family("reservations", "Attempts of the ledger that hold or took a bound.",
                      ["state"], [((s,), count) for s, (count, _) in states.items()])  # fmt: skip
        yield _family("reserved_usd", "Dollars of their bounds.", ["state"],
                      [((s,), amount / PICO) for s, (_, amount) in states.items()])  # fmt: skip

    def _of_backends(self) -> Iterator[Metric]:
        named = self.backends.items()
        yield _family(
            "backend_info",
            "Always 1; what each backend is.",
            ["backend", "api", "model", "place", "paid"],
            [
                ((b.name, b.api.name, b.model, "local" if b.local else "remote",
                  "no" if b.price.free else "yes"), 1)
                for b in self.backends.values()
            ],
        )  # fmt: skip
        yield _family("price_frozen", "1: its price proved too low and is refused.", ["backend"],
                      [((b.name,), key in self.frozen) for key, b in named])  # fmt: skip

    def _of_routes(self) -> Iterator[Metric]:
        seconds: list[tuple[tuple[str, ...], float]] = []
        share: list[tuple[tuple[str, ...], float]] = []
        for name, route in self.routes.items():
            for owed, promise in (
                ("first_event", route.promise.first),
                ("answer", route.promise.answer),
            ):
                if promise is not None:
                    share.append(((name, owed), promise[0]))
                    seconds.append(((name, owed), promise[1]))
            seconds.append(((name, "deadline"), route.deadline))
        yield _family("route_backends", "Backends of the route.", ["route"],
                      [((n,), len(r.backends)) for n, r in self.routes.items()])  # fmt: skip
        yield _family("promise_seconds", "Seconds that the route owes.", ["route", "promise"],
                      seconds)  # fmt: skip
        yield _family("promise_share", "Share of calls that must keep them.",
                      ["route", "promise"], share)  # fmt: skip

    def _of_budgets(self) -> Iterator[Metric]:
        rows = sums(self._budgets, self._watched.budgets, self._now)
        labels = ["scope", "name", "window"]
        for name, text, part in (
            ("budget_limit_usd", "Dollars that the window may take.", 0),
            ("budget_posted_usd", "Dollars that it took.", 1),
            ("budget_held_usd", "Dollars held for attempts that are under way.", 2),
        ):
            found = [(_shown(key), amounts[part] / PICO) for key, amounts in rows.items()]
            yield _family(name, text, labels, found)
        ends = [(_shown(key), float(amounts[3])) for key, amounts in rows.items() if amounts[3]]
        yield _family("budget_ends_timestamp_seconds", "Unix time at which the window ends.",
                      labels, ends)  # fmt: skip


Key = tuple[str, str, str]
"""Scope, name, window."""


def sums(
    budgets: Iterable[Budget], rows: Iterable[BudgetRow], now: float
) -> dict[Key, tuple[int, int, int, int]]:
    """Limit, posted, held, and end of each budget in force; an end of 0: it rolls, or never ends.

    Budgets of a name are there before anything was spent; those of `*` once a name has spent. Rows
    of budgets that are no longer configured are left out: nobody is held to them.
    """
    configured = {_key(b): b for b in budgets}
    found: dict[Key, tuple[int, int, int, int]] = {}
    for key, budget in configured.items():
        if budget.scope.name != EACH:
            at = place(budget, budget.scope, now)
            found[key] = (budget.limit, 0, 0, 0 if span(budget.window) else at.ends)
    for row in rows:
        window = row.key.removeprefix(f"{row.kind}/{row.name}/").removesuffix(f"/{row.start}")
        key = (row.kind, row.name, window)
        own = configured.get(key) or configured.get((row.kind, EACH, window))
        if own is None:
            continue
        _, posted, held, _ = found.get(key, (0, 0, 0, 0))
        ends = 0 if span(own.window) else row.ends
        found[key] = (own.limit, posted + row.posted, held + row.held, ends)
    return found


def _shown(key: Key) -> Key:
    """The budget of all calls has a name as well: an empty label is none."""
    return key[0], key[1] or "all", key[2]


def _key(budget: Budget) -> Key:
    scope: Scope = budget.scope
    zoned = budget.zone != "UTC" and budget.window in {"day", "week", "month"}
    return scope.kind, scope.name, f"{budget.window}@{budget.zone}" if zoned else budget.window


def _family(
    name: str, text: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(f"isocost_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), float(value))
    return family
