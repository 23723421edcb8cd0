"""All charts as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .result import Chart, Part

COLUMNS = 3
COLOURS = {"router": "#1f6fb4", "bare proxy": "#9aa5b1", "nginx": "#d8dde3"}
SERIES = ("#1f6fb4", "#e08a2c", "#4a9d5b", "#9aa5b1")


def draw(parts: Sequence[Part], file: Path, title: str) -> Path | None:
    """Write the picture to *file*; None when there is nothing to draw."""
    charts = [chart for part in parts for chart in part.charts]
    if not charts:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = -(-len(charts) // COLUMNS)
    figure, places = plt.subplots(
        rows, COLUMNS, figsize=(5.2 * COLUMNS, 3.4 * rows), squeeze=False, layout="constrained"
    )
    for place in places.flat[len(charts) :]:
        place.set_visible(False)
    for place, chart in zip(places.flat, charts, strict=False):
        _bars(place, chart)
    figure.suptitle(title)
    figure.savefig(file, dpi=130)
    plt.close(figure)
    return file


def _bars(place, chart: Chart) -> None:
    groups = list(chart.bars)
    series = list(dict.fromkeys(name for bars in chart.bars.values() for name in bars))
    width = 0.8 / len(series)
    for at, name in enumerate(series):
        left = [n + width * (at - (len(series) - 1) / 2) for n in range(len(groups))]
        heights = [chart.bars[group].get(name, 0.0) for group in groups]
        colour = COLOURS.get(name, SERIES[at % len(SERIES)])
        drawn = place.bar(left, heights, width, label=name, color=colour)
        place.bar_label(drawn, fmt="%.3g", fontsize=7, padding=1)
    if chart.target is not None:
        place.axhline(chart.target, color="#b42318", linestyle="--", linewidth=1)
    place.set_xticks(range(len(groups)), groups, fontsize=8 if len(groups) < 5 else 6)
    place.set_title(chart.title, fontsize=10)
    place.set_ylabel(chart.unit, fontsize=8)
    place.margins(y=0.15)
    for side in ("top", "right"):
        place.spines[side].set_visible(False)
    if len(series) > 1:
        place.legend(fontsize=7, frameon=False)
