"""`isocost reconcile`: a vendor's bill beside the books; what was unknown is settled by it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import msgspec
from rich.table import Table
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from router import apis
from router.admin import store
from router.bills import deepl, elevenlabs, google, openai, sandbox
from router.bills.books import DAY, Entry, Place, from_journal, from_ledger, same_model, spread
from router.bills.match import Drift, Result, compare
from router.bills.statement import Charge, Statement, Unreadable
from router.bills.table import Columns
from router.cli import parser
from router.cli.journal import Refused, terminal
from router.config import Config, ConfigError, read
from router.config.fields import seconds
from router.core.api import Endpoint
from router.core.call import Call, Usage
from router.core.money import usd
from router.core.reply import Reply
from router.core.service import Service
from router.journal.query import moment
from router.ledger.ledger import Ledger
from router.ledger.record import Bill, StoreDown
from router.pipeline import World, build
from router.route import Backend

READERS: dict[str, Callable[[bytes, Columns], Statement]] = {
    "openai": openai.read,
    "elevenlabs": elevenlabs.read,
    "deepl": deepl.read,
    "google_vision": google.reader("google_vision"),
    "google_speech": google.reader("google_speech"),
    "sandbox": sandbox.read,
}
COUNTED = frozenset(Usage.__struct_fields__) - {"features"}


def main(words: list[str]) -> int:
    options = parser("reconcile")
    options.add_argument("bill", help="the vendor's export (docs/bills.md); the sandbox's address")
    options.add_argument("--vendor", choices=tuple(READERS), required=True)
    options.add_argument("--config", type=Path, default=Path("isocost.yaml"))
    options.add_argument("--state", type=Path, default=Path("var/router"), help="journal folder")
    options.add_argument(
        "--backend", action="append", default=[], help="only attempts at it; may be given again"
    )
    options.add_argument(
        "--all-accounts",
        action="store_true",
        help="the bill is that of every account of the vendor",
    )
    options.add_argument(
        "--column", action="append", default=[], metavar="NAME=HEADING", help="in a CSV file"
    )
    options.add_argument("--since", help="the bill says everything from then on; else: its rows")
    options.add_argument("--until", help="and until then; else: its rows, but not the last --lag")
    options.add_argument("--lag", help="how late the vendor writes calls on its bill; 24h")
    options.add_argument(
        "--clock",
        metavar="TIME",
        default="0s",
        help="a router's clock was wrong by so much at most, such as 2h",
    )
    options.add_argument(
        "--share", action="store_true", help="share a day's sum among its unknown attempts"
    )
    options.add_argument("--dry-run", action="store_true", help="show only, settle nothing")
    options.add_argument("--json", action="store_true", help="one object a line")
    given = options.parse_args(words)
    try:
        return _run(given)
    except (Refused, Unreadable, ConfigError, StoreDown, ValueError, OSError) as exc:
        print(f"isocost reconcile: {exc}", file=sys.stderr)
    except SQLAlchemyError as exc:
        # Its text holds the statement; the class says enough, and no password.
        print(f"isocost reconcile: the ledger: {type(exc).__name__}", file=sys.stderr)
    return 1


def _run(given: Namespace) -> int:
    columns = dict(pair.partition("=")[::2] for pair in given.column)
    config = read(given.config)
    statement = _covering(READERS[given.vendor](_fetch(given), columns), given)
    places = _places(config, statement, given.backend)
    if given.vendor != "sandbox" and not given.all_accounts:
        _one_account(config, places)
    where = store.where(config, os.environ, given.state)
    wrong = _wrong(given.clock)
    entries = [spread(e, wrong) for e in _entries(statement, places, where, given)]
    result = compare(statement, entries, _pricing(config, given.config, places), share=given.share)
    settled = 0
    if result.bills and where is not None and not given.dry_run:
        settled = asyncio.run(_settle(where, result.bills))
    _show(result, given, settled, ledger=where is not None)
    return 0


def _fetch(given: Namespace) -> bytes:
    if not given.bill.startswith(("http://", "https://")):
        return Path(given.bill).read_bytes()
    if given.vendor != "sandbox":
        raise Refused("only the sandbox's bill is read from an address: give a file")
    try:
        with urlopen(given.bill, timeout=30) as answer:  # noqa: S310 - http, as checked above
            found: bytes = answer.read()
            return found
    except URLError as exc:
        raise Refused(f"{given.bill}: {exc.reason}") from None


def _covering(statement: Statement, given: Namespace) -> Statement:
    """*statement* with what it covers: as said, or its rows without the newest."""
    now, zone = time.time(), ZoneInfo(statement.zone)
    lag = now - moment(given.lag or ("0s" if given.vendor == "sandbox" else "24h"), zone, now)
    since = moment(given.since, zone, now) if given.since else statement.since
    until = moment(given.until, zone, now) if given.until else min(statement.until, now - lag)
    if not statement.by_call:
        # Of a day that began before, neither its sum nor its calls can be looked at.
        cut = [c.end for c in statement.charges if c.start < since < c.end]
        since = max([since, *cut])
    if given.since or given.until:
        kept = [c for c in statement.charges if since <= c.start < until]
        statement = msgspec.structs.replace(statement, charges=kept)
    return msgspec.structs.replace(statement, since=since, until=until)


def _places(config: Config, statement: Statement, only: list[str]) -> dict[str, Place]:
    """Backends that are of the bill's vendors, by the names that attempts have."""
    found: dict[str, Place] = {}
    for name, spec in config.backends.items():
        named = not only or set(_names(name)) & set(only)
        # A machine that is paid by the hour is on nobody's bill.
        paid = spec.price is None or spec.price.per_hour_usd is None
        if named and paid and spec.api in statement.vendors:
            found |= dict.fromkeys(_names(name), Place(spec.api, spec.model))
    missing = set(only) - set(found)
    if missing:
        raise Refused(f"--backend: no paid backend of this vendor is called {', '.join(missing)}")
    return found


def _wrong(said: str) -> float:
    """Seconds by which a clock was wrong. Raises Refused."""
    try:
        return float(seconds(said))
    except ValueError as exc:
        raise Refused(f"--clock {said!r}: {exc}") from None


def _one_account(config: Config, places: dict[str, Place]) -> None:
    """Raises Refused when *places* are of several accounts: a bill is of one.

    By it, attempts at the others would be found never to have been charged.
    """
    accounts: dict[tuple[str, str], list[str]] = {}
    for name, spec in config.backends.items():
        if name in places:
            key = spec.key_env or spec.key_file or "no key"
            base = spec.base or apis.load(spec.api).base
            accounts.setdefault((base.rstrip("/"), key), []).append(name)
    if len(accounts) > 1:
        said = "; ".join(
            f"{', '.join(names)} ({at}, {key})" for (at, key), names in accounts.items()
        )
        raise Refused(
            f"backends of this vendor have {len(accounts)} accounts, a bill is of one: {said}. Say "
            "whose it is: --backend NAME for each of them, or --all-accounts if it is of all"
        )


def _names(name: str) -> tuple[str, str]:
    """As in the file, and as it is called while its sandbox stands in."""
    return name, f"{name}-sandbox"


def _entries(
    statement: Statement, places: dict[str, Place], where: URL | None, given: Namespace
) -> list[Entry]:
    if where is None:
        if not given.state.is_dir():
            raise Refused(f"{given.state}: no such folder; --state names the router's")
        return from_journal(given.state, places, statement.since - DAY, statement.end)
    ledger = store.existing(where)
    try:
        found = from_ledger(ledger, statement.vendors, statement.since - DAY, statement.end)
    finally:
        ledger.dispose()
    # Without --backend all count: one may have been taken out of the file since.
    return [e for e in found if e.backend in places] if given.backend else found


def _pricing(config: Config, path: Path, places: dict[str, Place]) -> Callable[[Charge], int]:
    """Prices of rows that say units only; the pipeline is not built for others."""

    @cache
    def backends() -> Mapping[str, Backend]:
        # Nothing is sent: the vendors' own keys may be elsewhere.
        env = {spec.key_env: "unused" for spec in config.backends.values() if spec.key_env}
        world = World(
            folder=path.parent,
            env=os.environ | env,
            now=time.monotonic,
            send=_unsent,
            record=lambda call, ending: None,
        )
        return build(config, world).backends

    def price(charge: Charge) -> int:
        usage = _usage(charge)
        costs = {
            backends()[name].price.of(usage)
            for name, place in places.items()
            if name in backends() and same_model(place.model, charge.model)
        }
        if len(costs) != 1:
            which = f"model {charge.model!r}" if charge.model else "this vendor"
            why = "backends have different prices" if costs else "no backend has a price"
            raise Refused(f"the bill counts units, and {why} for {which}; name one: --backend")
        return costs.pop()

    return price


def _usage(charge: Charge) -> Usage:
    counted = {name: round(count) for name, count in charge.units.items() if name in COUNTED}
    return msgspec.convert(counted, Usage)


def _unsent(endpoint: Endpoint) -> Service:
    async def send(call: Call) -> Reply:
        raise AssertionError("a comparison sends nothing")

    return send


async def _settle(where: URL, bills: list[Bill]) -> int:
    """How many attempts were still captured, and are settled now. Raises StoreDown."""
    ledger = await Ledger.open(where.render_as_string(hide_password=False))
    try:
        return sum(await ledger.reconcile(bills))
    finally:
        await ledger.close()


def _show(result: Result, given: Namespace, settled: int, *, ledger: bool) -> None:
    if given.json:
        for drift in result.drifts:
            print(msgspec.json.encode(_row(drift)).decode())
        return
    table = Table("day", "vendor", "model", "cause", show_footer=True)
    for head in ("calls", "billed $", "booked $", "drift $"):
        table.add_column(head, justify="right", overflow="fold")
    for drift in result.drifts:
        table.add_row(*[str(value) for value in _row(drift).values()])
    sums = [sum(getattr(d, name) for d in result.drifts) for name in ("billed", "booked", "drift")]
    cells = [str(sum(d.calls for d in result.drifts)), *[usd(amount) for amount in sums]]
    for column, text in zip(table.columns, ["all", "", "", "", *cells], strict=True):
        column.footer = text
    terminal().print(table)
    count = len(result.bills)
    if not ledger:
        print("no ledger is configured: this is the journal beside the bill, nothing to settle")
    elif given.dry_run:
        print(f"{count} attempts of unknown cost would be settled")
    else:
        print(f"{settled} attempts of unknown cost settled")


def _row(drift: Drift) -> dict[str, str | int]:
    return {
        "day": drift.day,
        "vendor": drift.vendor,
        "model": drift.model,
        "cause": drift.cause,
        "calls": drift.calls,
        "billed_usd": usd(drift.billed),
        "booked_usd": usd(drift.booked),
        "drift_usd": usd(drift.drift),
    }
