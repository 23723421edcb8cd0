"""Keys of the store as the router uses them: callers by digest, and their budgets."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from router.core.call import Key
from router.gates.key import Caller, Limits
from router.ledger.budget import Budget, Scope
from router.ledger.keys import KeyRow

log = logging.getLogger("isocost")
FOREVER = float("inf")


def callers(rows: Iterable[KeyRow]) -> dict[str, Key]:
    """By digest, those that are over included: a store with any key is never open to all."""
    return {row.hash: _caller(row) for row in rows}


def _caller(row: KeyRow) -> Caller:
    ends = [end for end in (row.expires, row.revoked) if end is not None]
    return Caller(
        row.name,
        row.team,
        frozenset(row.tags),
        frozenset(row.routes) if row.routes is not None else None,
        tasks=frozenset(row.tasks) if row.tasks is not None else None,  # type: ignore[arg-type]
        limits=Limits(row.rates.requests, row.rates.units),
        until=min(ends, default=FOREVER),
    )


def budgets(rows: Iterable[KeyRow], now: float) -> list[Budget]:
    """Those of the keys that are valid. Of a rotated key, as its newest secret has them."""
    newest: dict[str, KeyRow] = {}
    for row in rows:
        if row.valid(now) and (row.name not in newest or row.made > newest[row.name].made):
            newest[row.name] = row
    return [budget for row in newest.values() for budget in budgets_of(row)]


def budgets_of(row: KeyRow) -> list[Budget]:
    """Raises ValueError when one of them is wrong."""
    scope = Scope("key", row.name)
    return [Budget(scope, b.window, b.limit, b.at_limit, zone=b.zone) for b in row.budgets]


def together(of_file: Iterable[Budget], of_keys: Iterable[Budget]) -> list[Budget]:
    """All of them; where two have one scope and window, the lower limit holds."""
    lowest: dict[tuple[Scope, str, str], Budget] = {}
    for budget in (*of_file, *of_keys):
        same = (budget.scope, budget.window, budget.zone)
        if same not in lowest or budget.limit < lowest[same].limit:
            lowest[same] = budget
    return list(lowest.values())
