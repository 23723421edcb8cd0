"""`isocost journal`: what was decided of each call, from the files of all processes."""

from __future__ import annotations

import csv
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.core.task import TASKS
from router.journal.query import COLUMNS as ALL_COLUMNS
from router.journal.query import VERDICTS, Wanted, moment, pick, row
from router.journal.record import Record, shown

LAST = 50
"""Rows of a table when nothing else is said: the newest."""
BATCH = 10_000
"""Records that a Parquet file takes at once."""
COLUMNS = ("time", "key", "route", "verdict", "backend", "seconds", "cost_usd", "saved_usd")
"""Of a table in the terminal; the other formats have all of them."""


class Refused(Exception):
    """What was asked cannot be done; the message says why."""


def arguments(options: ArgumentParser) -> None:
    """Which records: the same words for every verb that reads the journal."""
    options.add_argument("--state", type=Path, default=Path("var/router"), help="journal folder")
    options.add_argument("--since", help="2026-11-23, 2026-11-23T14:00, or how long ago: 24h, 7d")
    options.add_argument("--until", help="the same; this moment itself is left out")
    options.add_argument("--zone", default="UTC", help="time zone of days, such as Europe/Paris")
    for name in ("key", "team", "route"):
        options.add_argument(f"--{name}", default="")
    options.add_argument("--task", choices=sorted(TASKS))
    options.add_argument(
        "--backend", default="", help="one that was asked, whether or not it answered"
    )
    options.add_argument("--verdict", choices=VERDICTS)


def wanted(given: Namespace, call: str = "") -> tuple[Wanted, ZoneInfo]:
    """What *given* asks for. Raises Refused."""
    try:
        zone = ZoneInfo(given.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(f"--zone: {given.zone!r} is no time zone; write Europe/Paris") from None
    now, times = time.time(), {"since": 0.0, "until": float("inf")}
    for name in times:
        if said := getattr(given, name):
            try:
                times[name] = moment(said, zone, now)
            except ValueError as exc:
                raise Refused(f"--{name}: {exc}") from None
    if not given.state.is_dir():
        raise Refused(f"{given.state}: no such folder; --state names the router's")
    asked = Wanted(
        times["since"],
        times["until"],
        key=given.key,
        team=given.team,
        route=given.route,
        task=given.task or "",
        backend=given.backend,
        verdict=given.verdict or "",
        call=call,
    )
    return asked, zone


def terminal() -> Console:
    """Of the terminal's width; what goes into a pipe is as wide as it is."""
    return Console(width=None if sys.stdout.isatty() else 200)


def main(words: list[str]) -> int:
    options = parser("journal")
    options.add_argument(
        "call", nargs="?", default="", help="the id of one call: all of its record"
    )
    arguments(options)
    options.add_argument("--last", type=int, help=f"only the newest so many; a table: {LAST}")
    options.add_argument("--format", choices=tuple(FORMATS), help="json: one object a line")
    options.add_argument("--output", type=Path, help="file to write instead of the terminal")
    given = options.parse_args(words)
    form = given.format or ("json" if given.call else "table")
    if form == "parquet" and given.output is None:
        options.error("a Parquet file needs --output")
    try:
        which, _ = wanted(given, given.call)
        found: Iterable[Record] = pick(given.state, which)
        last = given.last or (LAST if form == "table" else 0)
        if last > 0:
            found = deque(found, maxlen=last)
        count = FORMATS[form](found, given.output)
    except (Refused, OSError) as exc:
        print(f"isocost journal: {exc}", file=sys.stderr)
        return 1
    if given.call and not count:
        print(f"isocost journal: no record of call {given.call!r}", file=sys.stderr)
        return 1
    return 0


def _table(found: Iterable[Record], output: Path | None) -> int:
    table, count = Table(), 0
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for record in found:
        said = row(record)
        table.add_row(*["" if said[name] is None else str(said[name]) for name in COLUMNS])
        count += 1
    if output is None:
        terminal().print(table)
    else:
        with output.open("w", encoding="utf-8") as file:
            Console(file=file, width=160).print(table)
    return count


def _text(write: Callable[[Iterable[Record], IO[str]], int]) -> Callable[..., int]:
    def written(found: Iterable[Record], output: Path | None) -> int:
        if output is None:
            return write(found, sys.stdout)
        with output.open("w", encoding="utf-8", newline="") as file:
            return write(found, file)

    return written


def _csv(found: Iterable[Record], file: IO[str]) -> int:
    writer, count = csv.DictWriter(file, ALL_COLUMNS, lineterminator="\n"), 0
    writer.writeheader()
    for record in found:
        writer.writerow(row(record))
        count += 1
    return count


def _json(found: Iterable[Record], file: IO[str]) -> int:
    count = 0
    for record in found:
        file.write(json.dumps(shown(record), ensure_ascii=False) + "\n")
        count += 1
    return count


def _parquet(found: Iterable[Record], output: Path) -> int:
    try:
        pa: Any = import_module("pyarrow")
        pq: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise Refused("Parquet needs pyarrow: `pip install isocost[parquet]`") from None
    dollars, stamp = pa.decimal128(38, 12), pa.timestamp("s", tz="UTC")
    kinds = {"status": pa.int32(), "seconds": pa.float64(), "input_tokens": pa.int64()}
    kinds |= {"output_tokens": pa.int64(), "cost_usd": dollars, "saved_usd": dollars}
    kinds |= {"time": stamp}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in ALL_COLUMNS])
    count, records = 0, iter(found)
    with pq.ParquetWriter(output, schema) as writer:
        while batch := list(islice(records, BATCH)):
            writer.write_table(pa.table(_columns(batch), schema=schema))
            count += len(batch)
    return count


def _columns(batch: list[Record]) -> dict[str, list[Any]]:
    from decimal import Decimal  # noqa: PLC0415 - only here is money more than text

    rows: Iterator[dict[str, Any]] = map(row, batch)
    columns: dict[str, list[Any]] = {name: [] for name in ALL_COLUMNS}
    for record, said in zip(batch, rows, strict=True):
        said["time"] = record.created
        for name in ("cost_usd", "saved_usd"):
            said[name] = None if said[name] is None else Decimal(said[name])
        for name in ALL_COLUMNS:
            columns[name].append(said[name])
    return columns


FORMATS: dict[str, Callable[..., int]] = {
    "table": _table,
    "csv": _text(_csv),
    "json": _text(_json),
    "parquet": _parquet,
}
