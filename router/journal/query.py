"""Which records are wanted, and what a row of a table says of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from router.core.money import usd
from router.core.verdict import ALL
from router.journal.files import records
from router.journal.record import Record

VERDICTS = tuple(verdict.name for verdict in ALL)
COLUMNS = (
    *("call_id", "time", "key", "team", "route", "task", "verdict", "status", "backend"),
    *("attempts", "seconds", "input_tokens", "output_tokens", "cost_usd", "baseline"),
    *("saved_usd", "error"),
)
"""Of `row`."""
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Wanted(msgspec.Struct, frozen=True):
    """What a record must be; "" and infinity leave it open. Times are unix seconds."""

    since: float = 0.0
    until: float = float("inf")
    key: str = ""
    team: str = ""
    route: str = ""
    task: str = ""
    backend: str = ""
    """It was asked, whether or not it answered."""
    verdict: str = ""
    call: str = ""

    def holds(self, record: Record) -> bool:
        return (
            self.since <= record.created < self.until
            and self.key in {"", record.key}
            and self.team in {"", record.team}
            and self.route in {"", record.route}
            and self.task in {"", record.task}
            and self.verdict in {"", record.verdict}
            and self.call in {"", record.call_id}
            and (not self.backend or any(a.backend == self.backend for a in record.attempts))
        )


def pick(folder: Path, wanted: Wanted) -> Iterator[Record]:
    """Records of every process that are wanted, in the order in which they ended."""
    return filter(wanted.holds, records(folder, wanted.since, wanted.until))


def moment(said: str, zone: ZoneInfo, now: float) -> float:
    """Unix seconds of `2026-11-23`, `2026-11-23T14:00`, or of so long ago: `90m`, `24h`, `7d`.

    Raises ValueError, which says how to write it.
    """
    ago = _AGO.fullmatch(said.strip())
    if ago:
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        at = datetime.fromisoformat(said.strip())
    except ValueError:
        raise ValueError(
            f"{said!r} is no time; write 2026-11-23, 2026-11-23T14:00, or how long ago: 24h, 7d"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()


def row(record: Record) -> dict[str, Any]:
    """The columns of a table: flat, money as exact dollars in text."""
    usage = record.usage
    return {
        "call_id": record.call_id,
        "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        "key": record.key or "",
        "team": record.team or "",
        "route": record.route,
        "task": record.task,
        "verdict": record.verdict,
        "status": record.status,
        "backend": record.backend,
        "attempts": " ".join(f"{a.backend}:{a.verdict}" for a in record.attempts),
        "seconds": round(record.seconds, 6),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": usd(record.cost),
        "baseline": record.baseline,
        "saved_usd": None if record.saved is None else usd(record.saved),
        "error": record.error,
    }
