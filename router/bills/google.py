"""Google Cloud: the cost table of Billing (CSV), or rows of its export to BigQuery (CSV, JSON).

Cost table: `Service description`, `Usage start date`, and `Unrounded Cost ($)` or `Cost ($)`. Days
are those of US and Canadian Pacific time; lines before the heading are passed over.
BigQuery: `service.description`, `usage_start_time`, `usage_end_time`, `cost`, `currency`, in UTC.

Both sum up the calls of a day or an hour by SKU, and name no model. Credits, such as free units,
are rows of their own in the first and not in `cost` of the second: without them it looks higher.

Sources: https://cloud.google.com/billing/docs/how-to/cost-table and
https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage (read
2026-11-23).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

from router.bills.statement import Charge, Statement, Unreadable, stated
from router.bills.table import Columns, Row, Rows, day_end, is_json, json

PACIFIC = "America/Los_Angeles"
SERVICES = {
    "google_vision": "cloud vision api",
    "google_speech": "cloud speech api",
}
"""Wire format -> `Service description`, in lower case."""
ALSO = {"cloud speech-to-text api": "cloud speech api"}
TABLE = ("service_description", "usage_start_date")
EXPORT = ("service.description", "usage_start_time", "usage_end_time", "cost")


def reader(vendor: str) -> Any:
    """Reads what of a bill is for *vendor*, `google_vision` or `google_speech`."""

    def read(data: bytes, columns: Columns) -> Statement:
        """Raises Unreadable."""
        if is_json(data):
            return _export(vendor, [Row(_flat(r), {}, f"row {n}") for n, r in _numbered(data)])
        try:
            return _export(vendor, Rows(data, EXPORT, columns))
        except Unreadable as exc:
            if "no line names" not in str(exc):
                raise
        return _table(vendor, Rows(data, TABLE, columns))

    return read


def _is(vendor: str, service: str) -> bool:
    said = service.casefold()
    return ALSO.get(said, said) == SERVICES[vendor]


def _export(vendor: str, rows: Iterable[Row]) -> Statement:
    charges = []
    for row in rows:
        if not _is(vendor, row.text("service.description")):
            continue
        currency = row.text("currency") or "USD"
        if currency != "USD":
            raise Unreadable(f"{row.where}: amounts are in {currency}, only USD can be compared")
        start, end = row.time("usage_start_time"), row.time("usage_end_time")
        charges.append(Charge(start=start, end=end, cost=row.money("cost")))
    return stated((vendor,), charges)


def _table(vendor: str, rows: Rows) -> Statement:
    exact = "unrounded_cost_($)" in rows.heads
    amount = "unrounded_cost_($)" if exact else "cost_($)"
    if not exact and "cost_($)" not in rows.heads:
        raise Unreadable(
            "the cost table has no column `Cost ($)`: only bills in USD can be compared"
        )
    zone, charges = ZoneInfo(PACIFIC), []
    for row in rows:
        if _is(vendor, row.text("service_description")) and row.text("usage_start_date"):
            start = row.time("usage_start_date", zone)
            end = day_end(start, zone)
            charges.append(Charge(start=start, end=end, cost=row.money(amount)))
    more: dict[str, object] = {} if exact else {"step": 10**10}
    return stated((vendor,), charges, zone=PACIFIC, **more)


def _numbered(data: bytes) -> Iterable[tuple[int, Any]]:
    found = json(data)
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise Unreadable("the export is no list of rows")
    return enumerate(rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    service = row.get("service")
    description = service.get("description") if isinstance(service, dict) else None
    return row | {"service.description": description or row.get("service.description")}
