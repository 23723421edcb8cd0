"""OpenAI: the cost export of the usage page (CSV), or pages of the Costs API (JSON).

`GET /v1/organization/costs?group_by=line_item` gives buckets of a day, each with results of an
`amount` and a `line_item` such as `gpt-4o-mini-2024-07-18, input`; the CSV has the same fields, a
row for each. A line item's model is what stands before its comma. Only daily sums are in them.

Sources: https://platform.openai.com/docs/api-reference/usage/costs and its fields in the official
SDK, openai 3.54 `types/admin/organization/usage_costs_response.py`; "All timestamps are based on
UTC", https://help.openai.com/en/articles/8554956-understanding-your-api-usage (read 2026-11-23).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from router.bills.statement import Charge, Statement, Unreadable, stated
from router.bills.table import Columns, Row, Rows, is_json, json

NEEDED = ("start_time", "end_time", "amount_value", "line_item")


def read(data: bytes, columns: Columns) -> Statement:
    """Raises Unreadable."""
    rows = _pages(json(data)) if is_json(data) else iter(Rows(data, NEEDED, columns))
    return stated(("openai",), [_charge(row) for row in rows])


def _charge(row: Row) -> Charge:
    currency = row.text("amount_currency") or "usd"
    if currency.casefold() != "usd":
        raise Unreadable(f"{row.where}: amounts are in {currency}, only USD can be compared")
    return Charge(
        start=row.time("start_time"),
        end=row.time("end_time"),
        model=row.text("line_item").split(",")[0].strip(),
        cost=row.money("amount_value"),
    )


def _pages(found: Any) -> Iterator[Row]:
    pages = found if isinstance(found, list) else [found]
    try:
        for page in pages:
            if page.get("has_more") and len(pages) == 1:
                raise Unreadable("the page says that there is more: give all pages, as one list")
            for number, bucket in enumerate(page["data"]):
                for result in bucket["results"]:
                    amount = result["amount"]
                    cells = {
                        "start_time": bucket["start_time"],
                        "end_time": bucket["end_time"],
                        "amount_value": amount["value"],
                        "amount_currency": amount.get("currency"),
                        "line_item": result.get("line_item"),
                    }
                    yield Row(cells, {}, f"bucket {number}")
    except (KeyError, TypeError, AttributeError) as exc:
        raise Unreadable(
            f"this is no page of the Costs API ({type(exc).__name__}: {exc}); ask for "
            "/v1/organization/costs?group_by=line_item"
        ) from None
