"""Budgets and their windows: which row of the store an amount belongs to, at a moment.

    day, week, month   of the calendar in a named time zone; a week begins on Monday
    total              one window without an end
    24h, 30m, 7d ...   rolling: kept in buckets of a 20th of the window. A bucket counts until the
                       last moment of it has left the window, so an amount counts for at least the
                       window and at most a 20th longer: conservative, never too little

All calendar windows of a zone follow each other without a gap, also where clocks are put forward
or back: a window ends where the next one begins. Times are unix seconds, money is pico-dollars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

BUCKETS = 20
"""Per rolling window; every window is whole minutes, so all buckets are whole seconds."""
MOST = 9 * 10**18
"""Pico-dollars that a window can count: integers of 64 bits, 9 million dollars."""
EACH = "*"
"""As the name of a scope: every one of its kind has this budget for itself."""

Kind = Literal["global", "team", "key", "route", "backend"]
AtLimit = Literal["refuse", "local_only", "warn"]


class Scope(msgspec.Struct, frozen=True):
    """Whose money: `Scope("team", "search")`; the name of the global scope is ""."""

    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


class Budget(msgspec.Struct, frozen=True):
    """At most *limit* pico-dollars for *scope* in each window. Raises ValueError when it is wrong.

    at_limit   refuse: no more paid attempts; local_only: the same here, and the caller lets free
               local backends serve; warn: nothing is refused, only told
    alerts     shares of the limit whose crossing is told once per window
    """

    scope: Scope
    window: str
    limit: int
    at_limit: AtLimit = "refuse"
    alerts: tuple[float, ...] = (0.5, 0.8, 1.0)
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= MOST:
            raise ValueError(
                f"The limit of the budget of {self.scope} must be 0 to {MOST // 10**12} USD."
            )
        if any(not 0 < share <= 1 for share in self.alerts):
            raise ValueError(f"Alerts of the budget of {self.scope} are shares: above 0, up to 1.")
        span(self.window)
        zone(self.zone)


class Place(msgspec.Struct, frozen=True):
    """The row that an amount of now goes to, and for rolling windows what counts beside it."""

    key: str
    budget: Budget
    scope: Scope
    """The budget's own, or the one that its `*` stood for."""
    start: int
    ends: int
    """0: never."""
    fresh_until: float
    """From then on another row is the right one."""
    anchor: str = ""
    """Rolling: the row that all who reserve lock, so that they see each other's buckets."""
    since: int = 0
    """Rolling: buckets that start later than this count."""


def span(window: str) -> int:
    """Seconds of a rolling window; 0 for one of the calendar. Raises ValueError."""
    if window in {"day", "week", "month", "total"}:
        return 0
    found = re.fullmatch(r"([1-9]\d{0,5})(m|h|d)", window)
    if not found:
        raise ValueError(
            f"Window {window!r} is not known; write day, week, month, total, or a rolling one "
            "such as 30m, 24h or 7d."
        )
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2]]


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The time zone called *name*. Raises ValueError."""
    if name == "UTC":
        return UTC  # needs no tables of zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(
            f"Time zone {name!r} is not known; write one like Europe/Berlin or UTC."
        ) from exc


def calendar(window: str, where: tzinfo, now: float) -> tuple[int, int]:
    """Start and end of the calendar window that *now* is in; (0, 0) for `total`."""
    if window == "total":
        return 0, 0
    today = datetime.fromtimestamp(now, where).date()
    if window == "day":
        first, last = today, today + timedelta(days=1)
    elif window == "week":
        first = today - timedelta(days=today.weekday())
        last = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        last = (first + timedelta(days=32)).replace(day=1)
    return _midnight(first, where), _midnight(last, where)


def _midnight(day: date, where: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp())


def place(budget: Budget, scope: Scope, now: float) -> Place:
    """Where an amount of *now* is counted."""
    name = f"{scope.kind}/{scope.name}/{budget.window}"
    length = span(budget.window)
    if not length:
        start, ends = calendar(budget.window, zone(budget.zone), now)
        if budget.zone != "UTC" and ends:
            name += f"@{budget.zone}"
        return Place(f"{name}/{start}", budget, scope, start, ends, ends or float("inf"))
    bucket = length // BUCKETS
    start = int(now // bucket) * bucket
    return Place(
        f"{name}/{start}",
        budget,
        scope,
        start,
        start + bucket + length,
        start + bucket,
        anchor=f"{name}/anchor",
        since=start - length - bucket,
    )


class Budgets:
    """All budgets, found by the scopes of a call; windows are worked out once, not per call."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._of: dict[Scope, list[Budget]] = {}
        for budget in budgets:
            same = self._of.setdefault(budget.scope, [])
            if any(b.window == budget.window and b.zone == budget.zone for b in same):
                raise ValueError(
                    f"{budget.scope} has two budgets with window {budget.window}; keep one."
                )
            same.append(budget)
        self._places: dict[Scope, list[Place]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    @property
    def all(self) -> tuple[Budget, ...]:
        return tuple(budget for same in self._of.values() for budget in same)

    def concern(self, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
        """Those of *scopes* that have a budget."""
        of = self._of
        return tuple(s for s in scopes if s in of or Scope(s.kind, EACH) in of)

    def places(self, scopes: Iterable[Scope], now: float) -> tuple[Place, ...]:
        """The rows that an amount of *now* belongs to."""
        found: list[Place] = []
        for scope in scopes:
            known = self._places.get(scope)
            if known is None or any(not p.start <= now < p.fresh_until for p in known):
                known = self._find(scope, now)
            found += known
        return tuple(found)

    def _find(self, scope: Scope, now: float) -> list[Place]:
        if len(self._places) > 10_000:
            self._places.clear()  # names of keys and teams come and go
        # One that names the scope takes the place of the `*` with the same window.
        budgets = [*self._of.get(Scope(scope.kind, EACH), ()), *self._of.get(scope, ())]
        places = [place(budget, scope, now) for budget in budgets]
        known = self._places[scope] = list({p.key: p for p in places}.values())
        return known
