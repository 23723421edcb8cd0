"""`isocost ledger`: the store of money, as an operator looks after it. Works while routers run.

    migrate   make the schema, or bring it up to date, and say which step it is at
    audit     compare every budget with the sum of its attempts; a difference ends with 1

It is the store that the configuration's `ledger:` names, or --ledger.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from router.admin.store import existing, where
from router.cli import parser
from router.config import ConfigError, read
from router.core.money import usd
from router.ledger.books import Difference, audit
from router.ledger.database import address, migrate
from router.ledger.migrations import HEAD
from router.ledger.writer import Timing


def arguments(words: list[str]) -> Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, default=Path("isocost.yaml"))
    shared.add_argument("--ledger", help="the store, if not the one that the configuration names")
    shared.add_argument("--state", type=Path, default=Path("var/router"), help="router's folder")
    whole = parser("ledger")
    verbs = whole.add_subparsers(dest="what", metavar="WHAT", required=True)
    verbs.add_parser("migrate", parents=[shared], help="bring its schema up to date")
    verbs.add_parser("audit", parents=[shared], help="compare budgets with their attempts")
    return whole.parse_args(words)


def main(words: list[str]) -> int:
    options = arguments(words)
    try:
        url = _store(options)
        return _migrate(url) if options.what == "migrate" else _audit(url)
    except ConfigError as exc:
        print(f"isocost ledger: {exc}", file=sys.stderr)
        return 2
    except (SQLAlchemyError, OSError) as exc:
        # The driver's own words alone: the statement and its values are nobody's business.
        said = str(getattr(exc, "orig", None) or type(exc).__name__).splitlines()[0]
        print(f"isocost ledger: the store cannot be used: {said}", file=sys.stderr)
        return 1


def _store(options: Namespace) -> URL:
    try:
        found = address(options.ledger) if options.ledger else None
    except ValueError as exc:
        raise ConfigError(f"--ledger: {exc}") from exc
    found = found or where(read(options.config), os.environ, options.state)
    if found is None:
        raise ConfigError(f"{options.config} keeps no ledger; name a store with --ledger")
    return found


def _migrate(url: URL) -> int:
    was = migrate(url)
    print(f"schema {HEAD}: nothing to do" if was == HEAD else f"schema {was or 'none'} -> {HEAD}")
    return 0


def _audit(url: URL) -> int:
    made = existing(url)
    try:
        wrong = audit(made, kept_since=time.time() - Timing().keep)
    finally:
        made.dispose()
    for found in wrong:
        print(_told(found))
    print(f"{len(wrong)} budgets differ" if wrong else "every budget is the sum of its attempts")
    return 1 if wrong else 0


def _told(found: Difference) -> str:
    held = f"held {usd(found.held)}, by its attempts {usd(found.held_by_attempts)}"
    posted = f"posted {usd(found.posted)}, by its attempts {usd(found.posted_by_attempts)}"
    return f"{found.key}: USD {held}; {posted}"
