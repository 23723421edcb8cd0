"""`isocost savings`: what each day cost, and what its baseline would have cost.

Of every call that was answered and says what it used, the journal holds what the route's baseline
would have cost for the same units. Of other calls (no answer, no usage, no baseline) no saving is
claimed: they are shown apart, and what those cost that have a baseline is taken off the sum.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.cli.journal import Refused, arguments, terminal, wanted
from router.core.money import PICO, usd
from router.journal.query import pick
from router.journal.record import Record

WIDTH = 40
"""Characters of the longest bar."""


class Saving(msgspec.Struct):
    """A day of one route against one baseline. Money in pico-dollars."""

    calls: int = 0
    cost: int = 0
    baseline: int = 0
    unstated: int = 0
    """Calls of which nothing can be stated."""
    unstated_cost: int = 0
    lost: int = 0
    """Of `unstated_cost`, what was paid on routes that have a baseline, and brought no answer."""

    @property
    def spent(self) -> int:
        """What stands against the baseline."""
        return self.cost + self.lost

    @property
    def saved(self) -> int:
        return self.baseline - self.spent

    @property
    def share(self) -> float | None:
        """Of the baseline's cost; None where it would have cost nothing."""
        return self.saved / self.baseline if self.baseline else None


Days = dict[tuple[str, str, str], Saving]
"""(day, route or what else, baseline) -> what was saved."""


def summed(found: Iterable[Record], zone: ZoneInfo, by: str = "route") -> Days:
    """Savings by day, *by* (route, key, team, task) and baseline."""
    days: Days = {}
    for record in found:
        day = datetime.fromtimestamp(record.created, zone).date().isoformat()
        place = day, getattr(record, by) or "", record.baseline
        saving = days.setdefault(place, Saving())
        if record.saved is None:
            saving.unstated += 1
            saving.unstated_cost += record.cost
            saving.lost += record.cost if record.baseline else 0
        else:
            saving.calls += 1
            saving.cost += record.cost
            saving.baseline += record.cost + record.saved
    return dict(sorted(days.items()))


def total(savings: Iterable[Saving]) -> Saving:
    whole = Saving()
    for saving in savings:
        for name in whole.__struct_fields__:
            setattr(whole, name, getattr(whole, name) + getattr(saving, name))
    return whole


def main(words: list[str]) -> int:
    options = parser("savings")
    arguments(options)
    options.add_argument("--by", choices=("route", "key", "team", "task"), default="route")
    options.add_argument("--plot", type=Path, help="a PNG of the days; without it, bars")
    given = options.parse_args(words)
    try:
        which, zone = wanted(given)
        days = summed(pick(given.state, which), zone, given.by)
        if not days:
            print("no calls in this time")
            return 0
        console = terminal()
        console.print(_table(days, given.by))
        if given.plot is not None:
            plot(days, given.plot)
            print(given.plot)
        else:
            _bars(days, console)
    except (Refused, OSError) as exc:
        print(f"isocost savings: {exc}", file=sys.stderr)
        return 1
    return 0


def _table(days: Days, by: str) -> Table:
    heads = ("day", by, "baseline", "calls", "cost $", "baseline $", "not stated", "their cost $")
    table = Table(*heads, "saved $", "saved", show_footer=True)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[3:]:
        column.justify = "right"
    for place, saving in days.items():
        table.add_row(*place, *_cells(saving))
    sums = ["all", "", "", *_cells(total(days.values()))]
    for column, text in zip(table.columns, sums, strict=True):
        column.footer = text
    return table


def _cells(saving: Saving) -> list[str]:
    share = saving.share
    return [
        str(saving.calls),
        usd(saving.cost),
        usd(saving.baseline),
        str(saving.unstated),
        usd(saving.unstated_cost),
        usd(saving.saved),
        "" if share is None else f"{share:.1%}",
    ]


def _by_day(days: Days) -> dict[str, Saving]:
    found: dict[str, list[Saving]] = {}
    for (day, _, _), saving in days.items():
        found.setdefault(day, []).append(saving)
    return {day: total(savings) for day, savings in found.items()}


def _bars(days: Days, console: Console) -> None:
    """What each day cost (full) and what was saved of its baseline (light)."""
    by_day = _by_day(days)
    most = max(max(s.baseline, s.spent) for s in by_day.values()) or 1
    for day, saving in by_day.items():
        full = round(WIDTH * saving.spent / most)
        light = max(0, round(WIDTH * saving.baseline / most) - full)
        console.print(
            f"{day} [red]{'█' * full}[/red][green]{'░' * light}[/green] "
            f"{usd(saving.spent)} of {usd(saving.baseline)}",
            highlight=False,
        )


def plot(days: Days, path: Path) -> None:
    """Draw each day's cost beside its baseline's. Raises Refused."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - seconds to load, and no part of a router

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError:
        raise Refused("a plot needs matplotlib: `pip install matplotlib`") from None
    by_day = _by_day(days)
    names = sorted({baseline for _, _, baseline in days if baseline})
    at: list[int] = list(range(len(by_day)))
    spent: list[Any] = [s.spent / PICO for s in by_day.values()]
    figure, axes = plt.subplots(figsize=(max(6.0, 0.5 * len(at)), 4), layout="constrained")
    label = f"baseline: {', '.join(names)}" if names else "baseline"
    baseline = [s.baseline / PICO for s in by_day.values()]
    axes.bar([x - 0.2 for x in at], baseline, 0.4, label=label, color="#c9c9c9")
    axes.bar([x + 0.2 for x in at], spent, 0.4, label="cost", color="#2a7f62")
    axes.set_xticks(at, list(by_day), rotation=45 if len(at) > 6 else 0, ha="right")
    axes.set_ylabel("USD")
    axes.set_title(f"saved {usd(total(days.values()).saved)} USD")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)
