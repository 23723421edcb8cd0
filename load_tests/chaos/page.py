"""Results, as the run itself writes them into docs/faults.md, and README's one line.

They stand between two comments, so that the words around them are people's.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from load_tests.chaos.cell import Result
from load_tests.chaos.checks import Check

RATES = ("idle", "80%", "150%")
TARGETS = {"own": "own", "a": "paid", "local": "TorchServe", "all": "all"}


class Run(Struct, frozen=True):
    """All that one run found; `capacity` in calls a second, `load` of the machine meanwhile."""

    day: str
    load: str
    capacity: float
    results: list[Result]
    closing: list[Check]

    @property
    def held(self) -> bool:
        return all(r.held for r in self.results) and all(check.held for check in self.closing)


def table(run: Run) -> str:
    """One row for each fault and target: what callers saw at each load."""
    rows = [
        "| fault | of | idle | 80% | 150% | normal after | not held |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault, target in dict.fromkeys((r.fault, r.target) for r in run.results):
        mine = {r.rate: r for r in run.results if (r.fault, r.target) == (fault, target)}
        seen = " | ".join(_seen(mine[rate]) if rate in mine else "-" for rate in RATES)
        rows.append(
            f"| {fault} | {TARGETS[target]} | {seen} | {_back(mine.values())} | "
            f"{_broken(mine.values())} |"
        )
    return "\n".join(rows)


def line(run: Run) -> str:
    """What README says: dead dependencies, then others, then streams that nobody can make whole."""
    owed = [r for r in run.results if any("answered right" in c.name for c in r.checks)]
    dead, ill = [r for r in owed if r.dead], [r for r in owed if not r.dead]
    broken = sum(r.broken for r in owed)
    calls, extra = sum(r.calls for r in run.results), sum(r.extra for r in run.results)
    faults = len({(r.fault, r.target) for r in run.results})
    return (
        f"{faults} faults at up to three loads, {calls:,} calls. While a dependency was dead and "
        f"another could serve, {_share(dead)} got the right answer within their deadline; while it "
        f"was slow, hung or wrong, {_share(ill)}; {broken} streams that were cut after their first "
        f"event ended as errors. {extra / max(calls, 1):.1%} extra attempts "
        f"(`make chaos`, {run.day})."
    )


def _share(results: list[Result]) -> str:
    """Of the calls that could be answered rightly: all but streams that were cut."""
    owed, right = sum(r.owed - r.broken for r in results), sum(r.right for r in results)
    return f"{right / max(owed, 1):.2%} of {owed:,} calls"


def write(run: Run, docs: Path, readme: Path) -> None:
    """Put both where they belong. Raises ValueError when a page has no place for it."""
    checks = "\n".join(f"* {check.name}: {check.figures}" for check in run.closing)
    body = (
        f"{run.day}, {run.load}; own serves {run.capacity:.0f} calls a second; "
        f"{len(run.results)} cells.\n\n"
        f"{table(run)}\n\nAfter all of them:\n\n{checks}"
    )
    _put(docs, "results", f"\n{body}\n")
    _put(readme, "chaos", line(run))


def write_soak(day: str, minutes: float, checks: Iterable[Check], docs: Path) -> None:
    """Put what a soak found where it belongs. Raises ValueError when there is no place for it."""
    rows = "\n".join(
        f"| {check.name} | {check.figures} | {'yes' if check.held else '**no**'} |"
        for check in checks
    )
    head = f"{day}, {minutes:.3g} minutes.\n\n| check | measured | held |\n|---|---|---|"
    _put(docs, "soak", f"\n{head}\n{rows}\n")


def _put(page: Path, mark: str, text: str) -> None:
    old = page.read_text(encoding="utf-8")
    found = re.compile(rf"(<!-- {mark} -->).*(<!-- /{mark} -->)", re.DOTALL)
    if not found.search(old):
        raise ValueError(f"{page} has no place <!-- {mark} -->")
    page.write_text(found.sub(lambda m: f"{m[1]}{text}{m[2]}", old), encoding="utf-8")


def _seen(result: Result) -> str:
    """Of the calls that began during the fault: right answers, and what the others got."""
    share = f"{result.right / result.owed:.1%}" if result.owed else "-"
    others = [
        f"{many} {word}"
        for many, word in ((result.refused, "refused"), (result.broken, "broken off"))
        if many
    ]
    return f"{share} of {result.owed}" + (f", {', '.join(others)}" if others else "")


def _back(results: Iterable[Result]) -> str:
    backs = [r.back for r in results]
    if any(isinstance(back, str) for back in backs):
        return "not"
    return f"{max(backs):.0f} s"


def _broken(results: Iterable[Result]) -> str:
    found = [c.name for r in results for c in r.checks if not c.held]
    return "; ".join(dict.fromkeys(found)) or "-"
