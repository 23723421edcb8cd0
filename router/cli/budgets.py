"""`isocost budgets`: what is spent, held and left of each budget, and prices that are refused.

A price is refused once a call cost more than its bound said; --thaw uses it again, when it has been
corrected in the configuration. Works while routers run, and needs none.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from typing import Any

from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router.admin import shown
from router.admin.store import existing
from router.cli import parser
from router.cli.journal import terminal
from router.cli.keys import places, store
from router.config import ConfigError
from router.ledger import books


def main(words: list[str]) -> int:
    options = parser("budgets")
    places(options)
    options.add_argument("--thaw", metavar="PRICE", help="use this price again")
    given = options.parse_args(words)
    try:
        return _run(given, existing(store(given)[0]))
    except ConfigError as exc:
        print(f"isocost budgets: {exc}", file=sys.stderr)
        return 2
    except SQLAlchemyError as exc:
        said = str(getattr(exc, "orig", None) or type(exc).__name__).splitlines()[0]
        print(f"isocost budgets: the store cannot be used: {said}", file=sys.stderr)
        return 1


def _run(given: Namespace, engine: Engine) -> int:
    if given.thaw:
        if not books.thaw(engine, given.thaw):
            print(f"isocost budgets: no price {given.thaw!r} is refused", file=sys.stderr)
            return 1
        print(f"{given.thaw} is used again")
        return 0
    rows = [shown.budget(row) for row in books.standing(engine, time.time())]
    frozen = [row.price for row in books.frozen_prices(engine)]
    if given.json:
        print(json.dumps({"budgets": rows, "refused_prices": frozen}))
        return 0
    if rows:
        terminal().print(_table(rows))
    else:
        print("nothing is spent from any budget yet")
    for price in frozen:
        print(f"price of {price}: refused, a call cost more than its bound; --thaw {price}")
    return 0


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("budget of", "window", "until")
    for head in ("limit $", "spent $", "held $", "left $", "used"):
        table.add_column(head, justify="right", overflow="fold")
    for row in rows:
        amounts = [row[f"{name}_usd"] for name in ("limit", "posted", "held", "left")]
        used = "" if row["used"] is None else f"{row['used']:.1%}"
        until = (row["ends"] or "for ever")[:16].replace("T", " ")
        table.add_row(f"{row['scope']} {row['name']}", row["window"], until, *amounts, used)
    return table
