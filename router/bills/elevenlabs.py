"""ElevenLabs: its history, a row for each speech, or its usage by day (JSON).

    GET /v1/history                  `history`: `date_unix`, `model_id` and the counter of credits
                                     before and after (`character_count_change_from`, `_to`)
    GET /v1/usage/character-stats    `time` (milliseconds, each a day) and `usage` by
                                     `breakdown_type=model`

Both count credits; what they cost is the price's business. A CSV with the columns of the history is
read, too.

Source: the official SDK, elevenlabs 2.78, `types/speech_history_item_response.py` and
`types/usage_characters_response_model.py`; https://elevenlabs.io/docs/api-reference/history and
/usage (read 2026-11-23).
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from router.bills.statement import Charge, Statement, Unreadable, stated
from router.bills.table import Columns, Row, Rows, day_end, is_json, json

NEEDED = ("date_unix", "model_id", "character_count_change_from", "character_count_change_to")
VENDORS = ("elevenlabs",)


def read(data: bytes, columns: Columns) -> Statement:
    """Raises Unreadable."""
    if not is_json(data):
        return _calls(list(Rows(data, NEEDED, columns)))
    found = json(data)
    if isinstance(found, dict) and isinstance(found.get("history"), list):
        if found.get("has_more"):
            raise Unreadable("the history says that there is more: join the pages into one")
        items = found["history"]
        return _calls([Row(item, {}, f"item {n}") for n, item in enumerate(items)])
    if isinstance(found, dict) and "time" in found and "usage" in found:
        return stated(VENDORS, _days(found))
    raise Unreadable("this is neither /v1/history nor /v1/usage/character-stats")


def _calls(rows: list[Row]) -> Statement:
    charges = []
    for row in rows:
        at = row.time("date_unix")
        used = row.number("character_count_change_to") - row.number("character_count_change_from")
        charge = Charge(
            start=at,
            end=at,
            model=row.text("model_id"),
            units={"credits": float(used)},
            calls=1,
            id=row.text("history_item_id"),
        )
        charges.append(charge)
    return stated(VENDORS, charges, by_call=True)


def _days(found: dict[str, Any]) -> list[Charge]:
    utc, charges = ZoneInfo("UTC"), []
    try:
        for model, counts in found["usage"].items():
            for stamp, count in zip(found["time"], counts, strict=True):
                start = stamp / 1000
                end, units = day_end(start, utc), {"credits": float(count)}
                name = "" if model == "All" else model
                charges.append(Charge(start=start, end=end, model=name, units=units))
    except (TypeError, ValueError, AttributeError) as exc:
        raise Unreadable(f"/v1/usage/character-stats looks otherwise: {exc}") from None
    return charges
