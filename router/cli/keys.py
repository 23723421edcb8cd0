"""`isocost keys`: callers that are kept in the store. Works while routers run.

    create   a new key; its secret is shown once, and nobody can show it again
    list     all keys, by what they may
    revoke   refused by every router within a second
    rotate   a new secret; the old one is taken for --grace longer

They are in the store that the configuration's `ledger:` names, or in --ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

import msgspec
from rich.box import SIMPLE
from rich.table import Table
from sqlalchemy import URL, Engine
from sqlalchemy.exc import SQLAlchemyError

from router.admin import shown
from router.admin.store import existing, opened, where
from router.admin.store import shown as placed
from router.admin.wanted import Wanted, WrongKey, duration, row
from router.cli import parser
from router.cli.journal import terminal
from router.config import Config, ConfigError, read
from router.ledger import keys
from router.ledger.database import address, there
from router.ledger.keys import KeyMissing, KeyRow, KeyTaken


def arguments(words: list[str]) -> Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    places(shared)
    whole = parser("keys")
    verbs = whole.add_subparsers(dest="what", metavar="WHAT", required=True)
    new = verbs.add_parser("create", parents=[shared], help="a new key; its secret is shown once")
    new.add_argument("name")
    new.add_argument("--team", default="default")
    new.add_argument("--routes", type=_words, help="a,b; all if left out")
    new.add_argument("--tasks", type=_words, help="chat,embed; all if left out")
    new.add_argument("--tags", type=_words, default=[])
    new.add_argument("--requests", type=int, metavar="N", help="a minute")
    new.add_argument("--units", type=int, metavar="N", help="tokens, characters ... a minute")
    new.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="WINDOW=USD[,AT_LIMIT][@ZONE]",
        help="month=50, 24h=0.5,local_only; may be repeated",
    )
    new.add_argument("--expires", metavar="WHEN", help="90d, 12h, or a date")
    verbs.add_parser("list", parents=[shared], help="all keys").add_argument(
        "--valid", action="store_true", help="without those that are over"
    )
    end = verbs.add_parser("revoke", parents=[shared], help="refuse a key from now on")
    end.add_argument("which", help="its name or prefix")
    turn = verbs.add_parser("rotate", parents=[shared], help="a new secret")
    turn.add_argument("which", help="its name or prefix")
    turn.add_argument("--grace", default="0", help="how long the old one is still taken: 5m, 24h")
    return whole.parse_args(words)


def places(options: argparse.ArgumentParser) -> None:
    """Where the store is, and in which form to answer."""
    options.add_argument("--config", type=Path, default=Path("isocost.yaml"))
    options.add_argument("--ledger", help="the store, if not the one that the configuration names")
    options.add_argument("--state", type=Path, default=Path("var/router"), help="router's folder")
    options.add_argument("--json", action="store_true", help="for programs")


def main(words: list[str]) -> int:
    options = arguments(words)
    try:
        url, config = store(options)
        return _run(options, _opened(url, making=options.what == "create"), config)
    except (ConfigError, WrongKey, KeyTaken, KeyMissing) as exc:
        print(f"isocost keys: {exc}", file=sys.stderr)
        return 2
    except SQLAlchemyError as exc:
        # The driver's own words alone: the statement and its values are nobody's business.
        said = str(getattr(exc, "orig", None) or type(exc).__name__).splitlines()[0]
        print(f"isocost keys: the store cannot be used: {said}", file=sys.stderr)
        return 1


def _opened(url: URL, *, making: bool) -> Engine:
    """The store. Only a new key makes one, before the first router starts, and says so."""
    if not making:
        return existing(url)
    if not there(url):
        print(f"a new ledger is made: {placed(url)}", file=sys.stderr)
    return opened(url)


def store(options: Namespace) -> tuple[URL, Config | None]:
    """The address that --ledger names, else the configuration's. Raises ConfigError."""
    config = read(options.config) if not options.ledger or options.config.exists() else None
    try:
        given = address(options.ledger) if options.ledger else None
    except ValueError as exc:
        raise ConfigError(f"--ledger: {exc}") from exc
    if given is None and config is not None:
        given = where(config, os.environ, options.state)
    if given is None:
        raise ConfigError(
            f"{options.config} keeps no ledger, so no router knows keys or budgets: add "
            "`ledger: {}` to it and start the router again, or name a store with --ledger."
        )
    return given, config


def _run(options: Namespace, engine: Engine, config: Config | None) -> int:
    now = time.time()
    if options.what == "list":
        _list(keys.listed(engine, now=now if options.valid else None), now, as_json=options.json)
    elif options.what == "create":
        wanted = Wanted(
            name=options.name,
            team=options.team,
            routes=options.routes,
            tasks=options.tasks,
            tags=options.tags,
            requests_per_minute=options.requests,
            units_per_minute=options.units,
            budgets=options.budget,
            expires=options.expires,
        )
        known = None if config is None else tuple(config.routes)
        if config is not None and any(key.name == wanted.name for key in config.keys):
            raise KeyTaken(f"The configuration has a key {wanted.name!r}; choose another name.")
        _tell(*keys.create(engine, row(wanted, now, known), now), now, as_json=options.json)
    elif options.what == "rotate":
        secret, made = keys.rotate(engine, options.which, now, grace=duration(options.grace))
        _tell(secret, made, now, as_json=options.json)
    else:
        ended = keys.revoke(engine, options.which, now)
        if options.json:
            over = [msgspec.structs.replace(key, revoked=now) for key in ended]
            print(json.dumps([shown.key(key, now) for key in over]))
        else:
            for key in ended:
                print(f"revoked: {key.name} ({key.prefix}...)")
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _tell(secret: str, made: KeyRow, now: float, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown.key(made, now) | {"secret": secret}))
        return
    # The secret alone goes to standard output, so that it can be piped into a safe place.
    print(f"key {made.name}, team {made.team}; shown this once only:", file=sys.stderr)
    print(secret)


def _list(rows: list[KeyRow], now: float, *, as_json: bool) -> None:
    told = [shown.key(row, now) for row in rows]
    if as_json:
        print(json.dumps(told))
        return
    table = Table(box=SIMPLE)
    columns = ("name", "prefix", "standing", "team", "routes", "tasks", "per minute", "budgets")
    for column in (*columns, "expires"):
        table.add_column(column, overflow="fold")
    for one in told:
        rates = [f"{one[f'{unit}_per_minute']} {unit}" for unit in ("requests", "units")]
        budgets = [f"{b['usd']} a {b['window']} ({b['at_limit']})" for b in one["budgets"]]
        table.add_row(
            one["name"],
            one["prefix"],
            one["standing"],
            one["team"],
            "all" if one["routes"] is None else ", ".join(one["routes"]),
            "all" if one["tasks"] is None else ", ".join(one["tasks"]),
            ", ".join(rate for rate in rates if not rate.startswith("None")),
            ", ".join(budgets),
            (one["expires"] or "never")[:16],
        )
    terminal().print(table)
