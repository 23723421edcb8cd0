"""`isocost savings`: what each day cost, and what its baseline would have cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.cli.journal import Refused, arguments, terminal, wanted
from router.core.money import PICO, usd
from router.journal.query import pick
from router.journal.savings import BY, Days, Saving, summed, total

WIDTH = 40
"""Characters of the longest bar."""


def main(words: list[str]) -> int:
    options = parser("savings")
    arguments(options)
    options.add_argument("--by", choices=BY, default="route")
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
    named = ("day", "baseline") if by == "day" else ("day", by, "baseline")
    heads = ("calls", "cost $", "baseline $", "not stated", "their cost $", "saved $", "saved")
    table = Table(*named, *heads, show_footer=True)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[len(named) :]:
        column.justify = "right"
    for (day, name, baseline), saving in days.items():
        place = (day, baseline) if by == "day" else (day, name, baseline)
        table.add_row(*place, *_cells(saving))
    sums = ["all", *[""] * (len(named) - 1), *_cells(total(days.values()))]
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
