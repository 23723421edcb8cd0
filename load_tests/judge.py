"""Judges a run's summary against the objectives of its profile. Pure: no clock, no files."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct


class Objectives(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits; None is not judged.

    `times`: entry -> p50, p95, p99 in seconds. Shares are of all calls; `fail_over_share` of those
    that a failing backend struck, `refused_least` of those of a criticality (`any`: of all).
    `billed_usd`: what the sandbox's bill may grow by.
    """

    times: dict[str, dict[str, float]] = {}
    error_share: float | None = None
    misshapen: int | None = 0
    late_share: float | None = None
    cost_per_1k_usd: float | None = None
    saved_share: float | None = None
    fail_over_share: float | None = None
    struck_least: int | None = None
    refused_least: dict[str, float] = {}
    error_share_of: dict[str, float] = {}
    billed_usd: float | None = None


class Finding(Struct, frozen=True):
    """One objective: what was measured (None: nothing was), its limit, and whether it held."""

    name: str
    measured: float | None
    limit: float
    held: bool


def judge(summary: Mapping[str, Any], objectives: Objectives) -> list[Finding]:
    """Every objective with its finding. What was not measured did not hold."""
    return [
        *_times(summary, objectives),
        *_calls(summary, objectives),
        *_money(summary, objectives),
    ]


def verdict(findings: list[Finding]) -> str:
    """`VERDICT: held`, or `VERDICT: broken (which)`."""
    broken = [finding.name for finding in findings if not finding.held]
    return f"VERDICT: broken ({', '.join(broken)})" if broken else "VERDICT: held"


def _times(summary: Mapping[str, Any], objectives: Objectives) -> Iterator[Finding]:
    for entry, limits in objectives.times.items():
        seen = summary["entries"].get(entry, {})
        for quantile, limit in limits.items():
            yield _at_most(f"{entry} {quantile}", seen.get(quantile), limit)


def _calls(summary: Mapping[str, Any], objectives: Objectives) -> Iterator[Finding]:
    calls, levels = summary["calls"], summary.get("criticality", {})
    if objectives.error_share is not None:
        yield _at_most("error share", _share(summary["errors"], calls), objectives.error_share)
    for level, limit in objectives.error_share_of.items():
        asked = levels.get(f"{level} calls", 0)
        bad = asked - levels.get(f"{level} answered", 0)
        yield _at_most(f"{level} not answered", _share(bad, asked), limit)
    if objectives.misshapen is not None:
        measured = summary.get("misshapen", 0) if calls else None
        yield _at_most("errors of another shape", measured, objectives.misshapen)
    if objectives.late_share is not None:
        late = _share(summary.get("late", 0), calls)
        yield _at_most("deadline misses", late, objectives.late_share)
    if objectives.struck_least is not None:
        yield _at_least("calls struck", summary.get("struck"), objectives.struck_least)
    if objectives.fail_over_share is not None:
        share = _share(summary.get("struck answered", 0), summary.get("struck", 0))
        yield _at_least("answered by fail over", share, objectives.fail_over_share)
    for level, limit in objectives.refused_least.items():
        whole = level == "any"
        asked = calls if whole else levels.get(f"{level} calls", 0)
        refused = summary.get("refused", 0) if whole else levels.get(f"{level} refused", 0)
        yield _at_least(f"refused of {level}", _share(refused, asked), limit)


def _money(summary: Mapping[str, Any], objectives: Objectives) -> Iterator[Finding]:
    money = summary["money"]
    if objectives.cost_per_1k_usd is not None:
        yield _at_most("cost per 1k calls", money["cost_per_1k_usd"], objectives.cost_per_1k_usd)
    if objectives.saved_share is not None:
        yield _at_least("saved share", money["saved_share"], objectives.saved_share)
    if objectives.billed_usd is not None:
        yield _at_most("billed by the vendors", summary.get("billed_usd"), objectives.billed_usd)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _at_most(name: str, measured: float | None, limit: float) -> Finding:
    return Finding(name, measured, limit, measured is not None and measured <= limit)


def _at_least(name: str, measured: float | None, limit: float) -> Finding:
    return Finding(name, measured, limit, measured is not None and measured >= limit)
