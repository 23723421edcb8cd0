"""What a run is shown as: tables and the verdict on the screen, curves as a picture."""

from collections import defaultdict
from math import exp
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from load_tests.judge import Finding, verdict
from load_tests.profile import Profile
from load_tests.tally import FINE

OUTCOMES = {
    "answered": "#1f6fb4", "failed over": "#4a9d5b", "refused": "#e08a2c", "failed": "#b42318"
}  # fmt: skip
QUANTILES = (50, 95, 99)


def show(console: Console, summary: dict[str, Any], findings: list[Finding]) -> None:
    """Two tables and the verdict."""
    seen = Table("entry", "calls", "errors", "p50 s", "p95 s", "p99 s", title="measured")
    for name, entry in sorted(summary["entries"].items()):
        times = [f"{entry[quantile]:.3f}" for quantile in ("p50", "p95", "p99")]
        seen.add_row(name, str(entry["calls"]), str(entry["errors"]), *times)
    console.print(seen)
    judged = Table("objective", "measured", "limit", "held", title="objectives")
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g}"
        judged.add_row(
            finding.name, measured, f"{finding.limit:g}", "yes" if finding.held else "NO"
        )
    console.print(judged)
    money = summary["money"]
    told = f"calls {summary['calls']}: answered {summary['answered']}, refused as expected"
    told += f" {summary['refused']}, failed {summary['errors']}; backends: {money['backends']}"
    console.print(told, highlight=False, markup=False)
    if money["cost_usd"] is not None:
        console.print(f"cost {money['cost_usd']:.6f} USD, saved {money['saved_usd']:.6f} USD")
    for problem in summary["problems"][:5]:
        console.print(f"{problem['times']} x {problem['entry']}: {problem['error']}", markup=False)
    console.print(verdict(findings), markup=False, highlight=False, soft_wrap=True)


def draw(summary: dict[str, Any], profile: Profile, title: str, file: Path) -> None:
    """Calls by how they ended, times, and who answered, second by second."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and wanted only here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of its engine

    seconds, took = _seconds(summary["timeline"])
    figure, (calls, times, backends) = plt.subplots(
        3, 1, figsize=(11, 9), sharex=True, layout="constrained"
    )
    span = list(range(max(seconds, default=0) + 1))
    _stack(calls, span, seconds, list(OUTCOMES), list(OUTCOMES.values()))
    calls.set_ylabel("calls begun per second")
    for quantile in QUANTILES:
        shown = [at for at in span if took[at]]
        times.plot(shown, [_quantile(took[at], quantile) for at in shown], label=f"p{quantile}")
    times.set_ylabel("seconds to the last byte")
    times.set_yscale("log")
    _stack(backends, span, seconds, [f"by {name}" for name in sorted(summary["money"]["backends"])])
    backends.set_ylabel("answers per second")
    backends.set_xlabel("seconds from the start")
    for place in (calls, times, backends):
        for step in profile.faults:
            place.axvline(step.at, color="#b42318" if step.rules else "#4a9d5b", linestyle="--")
        if place.get_legend_handles_labels()[0]:
            place.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    figure.suptitle(title)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _seconds(
    timeline: dict[str, int],
) -> tuple[dict[int, dict[str, int]], dict[int, dict[int, int]]]:
    """Counts by second and name, and by second and bucket of time."""
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    took: dict[int, dict[int, int]] = defaultdict(dict)
    for key, many in timeline.items():
        second, _, name = key.partition(" ")
        if name.startswith("took "):
            took[int(second)][int(name[5:])] = many
        else:
            counts[int(second)][name] += many
    return counts, took


def _quantile(buckets: dict[int, int], percent: int) -> float:
    left = sum(buckets.values()) * percent / 100
    for bucket in sorted(buckets):
        left -= buckets[bucket]
        if left <= 0:
            return exp(bucket / FINE)
    return exp(max(buckets) / FINE)


def _stack(
    place: Any,
    span: list[int],
    seconds: dict[int, dict[str, int]],
    names: list[str],
    colours: list[str] | None = None,
) -> None:
    rows = [[seconds[at][name] if at in seconds else 0 for at in span] for name in names]
    if names:
        place.stackplot(span, rows, labels=names, colors=colours)
