"""Judges a run's summary against the objectives of its profile. Pure: no clock, no files."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct


class Objectives(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits; None is not judged. `times`: entry -> p50, p95, p99 in seconds."""

    times: dict[str, dict[str, float]] = {}
    error_share: float | None = None
    cost_per_1k_usd: float | None = None
    saved_share: float | None = None


class Finding(Struct, frozen=True):
    """One objective: what was measured (None: nothing was), its limit, and whether it held."""

    name: str
    measured: float | None
    limit: float
    held: bool


def judge(summary: Mapping[str, Any], objectives: Objectives) -> list[Finding]:
    """Every objective with its finding. What was not measured did not hold."""
    return list(_findings(summary, objectives))


def verdict(findings: list[Finding]) -> str:
    """`VERDICT: held`, or `VERDICT: broken (which)`."""
    broken = [finding.name for finding in findings if not finding.held]
    return f"VERDICT: broken ({', '.join(broken)})" if broken else "VERDICT: held"


def _findings(summary: Mapping[str, Any], objectives: Objectives) -> Iterator[Finding]:
    for entry, limits in objectives.times.items():
        seen = summary["entries"].get(entry, {})
        for quantile, limit in limits.items():
            yield _at_most(f"{entry} {quantile}", seen.get(quantile), limit)
    if objectives.error_share is not None:
        share = summary["errors"] / summary["calls"] if summary["calls"] else None
        yield _at_most("error share", share, objectives.error_share)
    if objectives.cost_per_1k_usd is not None:
        measured = summary["money"]["cost_per_1k_usd"]
        yield _at_most("cost per 1k calls", measured, objectives.cost_per_1k_usd)
    if objectives.saved_share is not None:
        measured, limit = summary["money"]["saved_share"], objectives.saved_share
        held = measured is not None and measured >= limit
        yield Finding("saved share", measured, limit, held)


def _at_most(name: str, measured: float | None, limit: float) -> Finding:
    return Finding(name, measured, limit, measured is not None and measured <= limit)
