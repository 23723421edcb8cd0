"""What the journal answers to an operator: calls, and what was saved; its own reader picks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from router.core.money import usd
from router.journal.query import Wanted, pick, row
from router.journal.savings import By, Saving, summed, total


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
    """Calls, their cost, and what their baselines would have cost, per day, route, key ..."""
    found: dict[str, list[Saving]] = {}
    for (at, name, _), saving in summed(pick(folder, wanted), ZoneInfo("UTC"), by).items():
        found.setdefault(at if by == "day" else name, []).append(saving)
    for name in sorted(found):
        whole = total(found[name])
        yield {
            by: name,
            "calls": whole.calls + whole.unstated,
            "cost_usd": usd(whole.cost + whole.unstated_cost),
            "baseline_usd": usd(whole.baseline),
            "not_stated": whole.unstated,
            "saved_usd": usd(whole.saved),
        }
