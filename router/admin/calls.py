"""What the journal answers to an operator: calls, and what was saved; its own reader picks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from router.core.money import usd
from router.journal.query import Wanted, pick, row

By = Literal["day", "route", "key", "team", "backend"]


def day(text: str) -> tuple[float, float]:
    """Start and end of a day in UTC. Raises ValueError."""
    try:
        start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text!r} is no day; write it like 2026-11-23.") from None
    return start.timestamp(), (start + timedelta(days=1)).timestamp()


def newest(folder: Path, wanted: Wanted, most: int) -> list[dict[str, Any]]:
    """The calls that ended last, the newest first."""
    kept = deque(pick(folder, wanted), maxlen=most)
    return [row(record) for record in reversed(kept)]


def sums(folder: Path, wanted: Wanted, by: By) -> Iterator[dict[str, Any]]:
    """Calls, their cost, and what their baselines would have cost, per day, route, key ...

    Calls without a baseline are counted and cost, and save nothing.
    """
    found: dict[str, list[int]] = {}
    for record in pick(folder, wanted):
        at = datetime.fromtimestamp(record.created, UTC).date().isoformat()
        name = at if by == "day" else str(getattr(record, by) or "")
        one = found.setdefault(name, [0, 0, 0])
        one[0] += 1
        one[1] += record.cost
        one[2] += record.saved or 0
    for name in sorted(found):
        count, cost, saved = found[name]
        yield {by: name, "calls": count, "cost_usd": usd(cost), "saved_usd": usd(saved)}
