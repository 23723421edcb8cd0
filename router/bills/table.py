"""Reading exports: rows of a CSV file by the names of its columns, JSON, amounts, times.

Headings are compared without case, and spaces count as underscores. Lines before the heading (some
consoles write the account there) are passed over. A column that is called otherwise can be named
by `--column wanted=heading`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from router.bills.statement import Unreadable
from router.core.money import PICO

Columns = Mapping[str, str]
"""Our name of a column -> its heading in the file."""
PREAMBLE = 50
"""Lines that are searched for the heading."""


class Rows:
    """Rows of a CSV file that has all *needed* columns. Raises Unreadable."""

    def __init__(self, data: bytes, needed: tuple[str, ...], columns: Columns) -> None:
        self._named = {name: _plain(heading) for name, heading in columns.items()}
        text = _text(data)
        try:
            lines = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as exc:
            raise Unreadable(f"this is no CSV file: {exc}") from None
        best: set[str] = set()
        for number, line in enumerate(lines[:PREAMBLE]):
            heads = [_plain(cell) for cell in line]
            missing = {n for n in needed if self._named.get(n, n) not in heads}
            if not missing:
                self.heads, self._lines, self._first = heads, lines[number + 1 :], number + 2
                return
            if not best or len(missing) < len(best):
                best = missing
        raise Unreadable(
            f"no line names the columns {', '.join(needed)}; missing: {', '.join(sorted(best))}. "
            "If they are called otherwise, say so: --column "
            f"{min(best or set(needed))}='their heading'"
        )

    def __iter__(self) -> Iterator[Row]:
        for number, line in enumerate(self._lines, self._first):
            if any(cell.strip() for cell in line):
                yield Row(dict(zip(self.heads, line, strict=False)), self._named, f"row {number}")


class Row:
    """One row; what cannot be read is refused with its place."""

    def __init__(self, cells: Mapping[str, Any], named: Columns, where: str) -> None:
        self._cells, self._named, self.where = cells, named, where

    def text(self, name: str) -> str:
        """Nothing when the column is not there."""
        found = self._cells.get(self._named.get(name, name))
        return "" if found is None else str(found).strip()

    def number(self, name: str) -> Decimal:
        """Raises Unreadable. Nothing is 0; thousands may be separated by commas."""
        said = self.text(name).replace(",", "").lstrip("$€")
        try:
            found = Decimal(said or "0")
        except InvalidOperation:
            found = Decimal("nan")
        if not found.is_finite():
            raise Unreadable(f"{self.where}: {name} is no number: {said!r}")
        return found

    def money(self, name: str) -> int:
        """Dollars as pico-dollars. Raises Unreadable."""
        return int((self.number(name) * PICO).to_integral_value())

    def time(self, name: str, zone: ZoneInfo | None = None) -> float:
        """Unix seconds, of a number or of ISO 8601; without a zone it is in *zone*.

        Raises Unreadable.
        """
        said = self.text(name)
        if said.replace(".", "", 1).isdigit():
            return float(said)
        try:
            at = datetime.fromisoformat(said.removesuffix(" UTC"))
        except ValueError:
            raise Unreadable(f"{self.where}: {name} is no time: {said!r}") from None
        return (at if at.tzinfo else at.replace(tzinfo=zone or UTC)).timestamp()


def _plain(heading: str) -> str:
    return heading.strip().casefold().replace(" ", "_")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unreadable(f"this is no text in UTF-8: {exc}") from None


def is_json(data: bytes) -> bool:
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}


def json(data: bytes) -> Any:
    """Raises Unreadable."""
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Unreadable(f"this is not JSON: {exc}") from None


def day_end(start: float, zone: ZoneInfo) -> float:
    """The end of the calendar day that *start* is in."""
    at = datetime.fromtimestamp(start, zone)
    following = date.fromordinal(at.toordinal() + 1)
    return datetime(following.year, following.month, following.day, tzinfo=zone).timestamp()
