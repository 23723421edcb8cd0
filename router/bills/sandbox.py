"""The sandbox's own bill: `GET /sandbox/bill`, from its address or saved to a file.

Each line is one call with its charge, of whichever vendor. It keeps the last 1000 lines; when there
were more calls, only the time since the oldest line is covered.
"""

from __future__ import annotations

import time
from typing import Any

from router.bills.statement import Charge, Statement, Unreadable
from router.bills.table import Columns, json

VENDORS = ("openai", "elevenlabs", "deepl", "google_vision", "google_speech")

NAMED = {"openai", "elevenlabs"}
"""Whose models are called the same there as in a configuration."""


def read(data: bytes, columns: Columns, now: float | None = None) -> Statement:
    """The bill as it was at *now*. Raises Unreadable."""
    found = json(data)
    try:
        charges = [_charge(line) for line in found["lines"]]
        whole = found["calls"] <= len(charges)
    except (KeyError, TypeError) as exc:
        raise Unreadable(f"this is no bill of the sandbox: {type(exc).__name__}: {exc}") from None
    since = 0.0 if whole else min(charge.start for charge in charges)
    until = time.time() if now is None else now
    return Statement(
        vendors=VENDORS, charges=charges, since=since, until=until, by_call=True, step=0
    )


def _charge(line: dict[str, Any]) -> Charge:
    at = float(line["time"])
    return Charge(
        start=at,
        end=at,
        vendor=line["vendor"],
        model=line["model"] if line["vendor"] in NAMED else "",
        cost=int(line["pico_usd"]),
        calls=1,
        id=str(line["id"]),
    )
