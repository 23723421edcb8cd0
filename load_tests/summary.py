"""The summary of a run as JSON: times by entry, how calls ended, money, the timeline."""

import json
from pathlib import Path
from typing import Any

from load_tests.tally import Tally


def write(path: str, stats: Any, tally: Tally) -> None:
    """Put the summary into a file."""
    Path(path).write_text(json.dumps(summary(stats, tally), indent=1), encoding="utf-8")


def summary(stats: Any, tally: Tally) -> dict[str, Any]:
    """`errors` are calls that got no right answer, those that never ended among them."""
    entries = {entry.name: _entry(entry) for entry in stats.entries.values()}
    sums = dict(tally.sums)
    calls = max(sums.get("calls", 0), sums.get("begun", 0))
    seconds = max(stats.total.last_request_timestamp - stats.total.start_time, 1e-9)
    return {
        "calls": calls,
        "errors": sums.get("failed", 0) + calls - sums.get("calls", 0),
        "unended": calls - sums.get("calls", 0),
        "calls_per_second": calls / seconds,
        **{name: sums.get(name, 0) for name in ("answered", "refused", "misshapen", "late")},
        **{name: sums.get(name, 0) for name in ("struck", "struck answered")},
        "criticality": dict(tally.criticality),
        "entries": entries,
        "money": tally.told(),
        "problems": [
            {"entry": error.name, "error": str(error.error), "times": error.occurrences}
            for error in stats.errors.values()
        ],
        "timeline": dict(tally.timeline),
    }


def _entry(entry: Any) -> dict[str, Any]:
    times = {
        f"p{share}": (entry.get_response_time_percentile(share / 100) or 0.0) / 1000
        for share in (50, 95, 99)
    }
    return {
        "calls": entry.num_requests,
        "errors": entry.num_failures,
        "calls_per_second": entry.total_rps,
        **times,
    }
