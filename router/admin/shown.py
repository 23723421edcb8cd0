"""What may be told of keys and books: amounts in USD as exact decimals, times as ISO 8601 in UTC.

A key's digest is left out: it is of no use to people, and it is what a guess would be tested by.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from router.core.money import usd
from router.ledger.books import AttemptRow, BudgetRow
from router.ledger.keys import KeyRow

STATES = {"R": "reserved", "D": "dispatched", "C": "captured", "S": "settled", "X": "let go"}


def time(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def standing(key: KeyRow, now: float) -> Literal["valid", "revoked", "expired", "ending"]:
    """`ending`: its secret was replaced, and is still taken for a while."""
    if key.revoked is not None:
        return "revoked" if now >= key.revoked else "ending"
    return "expired" if key.expires is not None and now >= key.expires else "valid"


def key(row: KeyRow, now: float) -> dict[str, Any]:
    return {
        "name": row.name,
        "prefix": row.prefix,
        "standing": standing(row, now),
        "team": row.team,
        "routes": row.routes,
        "tasks": row.tasks,
        "tags": row.tags,
        "requests_per_minute": row.rates.requests,
        "units_per_minute": row.rates.units,
        "budgets": [
            {"window": b.window, "usd": usd(b.limit), "at_limit": b.at_limit, "zone": b.zone}
            for b in row.budgets
        ],
        "made": time(row.made),
        "expires": time(row.expires),
        "revoked": time(row.revoked),
    }


def budget(row: BudgetRow) -> dict[str, Any]:
    taken = row.posted + row.held
    return {
        "scope": row.kind,
        "name": row.name,
        "window": row.window,
        "starts": time(row.start) if row.start else None,
        "ends": time(row.ends) if row.ends else None,
        "limit_usd": usd(row.limit),
        "posted_usd": usd(row.posted),
        "held_usd": usd(row.held),
        "left_usd": usd(max(0, row.limit - taken)),
        "used": round(taken / row.limit, 6) if row.limit else None,
    }


def attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "call": row.call,
        "state": STATES[row.state],
        "backend": row.backend,
        "vendor": row.vendor,
        "model": row.model,
        "scopes": row.scopes,
        "bound_usd": usd(row.bound),
        "cost_usd": None if row.cost is None else usd(row.cost),
        "made": time(row.made),
        "due": time(row.due),
        "ended": time(row.ended),
    }
