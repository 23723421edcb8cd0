"""DeepL: the Admin API's analytics by key and day (JSON), or a CSV with the same fields.

`GET /v2/admin/analytics?group_by=key_and_day` gives `key_and_day_usages`, each with `usage_date`
and `usage.total_characters`. It counts characters, not money, and knows no model. Days are UTC;
data is there until the day before.

Source: DeepL's OpenAPI document, version 3.11.0, `/v2/admin/analytics`;
https://developers.deepl.com/docs/admin/retrieving-usage-data (read 2026-11-23).
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from router.bills.statement import Charge, Statement, Unreadable, stated
from router.bills.table import Columns, Row, Rows, day_end, is_json, json

NEEDED = ("usage_date", "total_characters")


def read(data: bytes, columns: Columns) -> Statement:
    """Raises Unreadable."""
    rows = _report(json(data)) if is_json(data) else list(Rows(data, NEEDED, columns))
    return stated(("deepl",), [_charge(row) for row in rows])


def _charge(row: Row) -> Charge:
    zone = ZoneInfo("UTC")
    start = row.time("usage_date", zone)
    units = {"characters": float(row.number("total_characters"))}
    return Charge(start=start, end=day_end(start, zone), units=units)


def _report(found: Any) -> list[Row]:
    try:
        days = found["usage_report"]["key_and_day_usages"]
        cells = [day["usage"] | {"usage_date": day["usage_date"]} for day in days]
    except (KeyError, TypeError):
        raise Unreadable(
            "there are no `key_and_day_usages`: ask /v2/admin/analytics with group_by=key_and_day"
        ) from None
    return [Row(cell, {}, f"day {number}") for number, cell in enumerate(cells)]
