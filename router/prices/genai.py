"""The list prices of language models, out of `genai-prices`; its release is their date."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import msgspec

from router.core.money import Price

_PROVIDERS = {"openai": "openai"}
"""Wire format -> provider in genai-prices."""
_HOUR = 3600


def by_token(api: str, model: str) -> Price | None:
    """The list price of *model* at the vendor of *api*; None when the list does not have it.

    Source: PyPI `genai-prices`, by Pydantic; prices in USD per million tokens.
    """
    # The price table takes 30 MB and 0.2 s: only a configuration without own prices pays that.
    from genai_prices import data  # noqa: PLC0415

    provider = _PROVIDERS.get(api)
    found: Any = None
    for entry in data.providers:
        if entry.id == provider:
            found = entry.find_model(model)
    if found is None:
        return None
    prices = found.prices
    if isinstance(prices, list):  # by date: the last one that has begun
        now = datetime.now(UTC)
        begun = [p for p in prices if p.constraint is None or p.constraint.active(now)]
        if not begun:
            return None
        prices = begun[-1].prices
    units = {
        "input_token": prices.input_mtok,
        "audio_input_token": getattr(prices, "input_audio_mtok", None),
        "audio_output_token": getattr(prices, "output_audio_mtok", None),
        "character": getattr(prices, "input_mchars", None),
        "output_token": getattr(prices, "output_mtok", None),
        "cached_token": getattr(prices, "cache_read_mtok", None),
        "written_token": getattr(prices, "cache_write_mtok", None),
    }
    source = f"genai-prices {version('genai-prices')}: {found.id}"
    hours = getattr(prices, "audio_hours", None)
    if hours is not None and units["input_token"] is None:
        return Price(second=int(hours * 10**12) // _HOUR, source=source)
    if units["input_token"] is None and units["character"] is None:
        return None
    if units["cached_token"] is None:
        units["cached_token"] = units["input_token"]
    starts = [t.start for v in units.values() for t in getattr(v, "tiers", None) or ()]
    base = _price(units, None, source)
    if not starts:
        return base
    long = _price(units, max(starts), source)
    return msgspec.structs.replace(base, long_from=min(starts), long=long)


def _price(units: dict[str, Any], start: int | None, source: str) -> Price:
    tokens = {name: _per_token(value, start) for name, value in units.items()}
    return Price(
        input_token=tokens["input_token"],
        output_token=tokens["output_token"],
        cached_token=tokens["cached_token"],
        written_token=tokens["written_token"],
        audio_input_token=tokens["audio_input_token"],
        audio_output_token=tokens["audio_output_token"],
        character=tokens["character"],
        source=source,
    )


def _per_token(value: Any, start: int | None) -> int:
    """Pico-dollars per token, from USD per million; the tier that begins at *start*, if any."""
    tiers = getattr(value, "tiers", None)
    if tiers is not None:
        price = value.base
        for tier in tiers:
            if start is not None and tier.start <= start:
                price = tier.price
        value = price
    return int((value or Decimal(0)) * 10**6)
