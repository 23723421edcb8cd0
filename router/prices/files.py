"""The price lists beside this module: one YAML file for each vendor.

api, currency, source, read       whose prices, in which money, where and when they were read
prices[].models                   patterns of model names; the first list that fits counts
prices[].from                     the day it begins; of those that have begun the last counts
prices[].amounts                  per character, credit, second, call, or feature of an image
prices[].free, prices[].tiers     units a month that are free, and cheaper ones above a number;
told by `isocost prices`, not counted in a call's cost, which
is held at the full price
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from router.core.money import PICO, Price


class Amounts(msgspec.Struct, forbid_unknown_fields=True):
    """Money per unit, in the list's currency."""

    character: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    second: Decimal = Decimal(0)
    call: Decimal = Decimal(0)
    features: dict[str, Decimal] = {}


class Tier(msgspec.Struct, forbid_unknown_fields=True):
    """What units above a number a month cost."""

    above: int
    amounts: Amounts


class Listed(msgspec.Struct, forbid_unknown_fields=True, rename={"begins": "from"}):
    """One price."""

    models: list[str]
    begins: date
    amounts: Amounts
    free: dict[str, int] = {}
    tiers: list[Tier] = []


class PriceList(msgspec.Struct, forbid_unknown_fields=True):
    """One file."""

    api: str
    currency: str
    source: str
    read: date
    prices: list[Listed]


def lists() -> list[PriceList]:
    """All files. Raises msgspec.ValidationError for one that is not right."""
    found = []
    for file in sorted(files(__package__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            # Amounts stay as they are written: no float may round them.
            data = yaml.load(file.read_text(), Loader=_Written)  # noqa: S506 - of SafeLoader
            found.append(msgspec.convert(data, PriceList, strict=False))
    return found


class _Written(yaml.SafeLoader):
    """Keeps decimal numbers as text."""


yaml.add_constructor("tag:yaml.org,2002:float", lambda loader, node: node.value, Loader=_Written)


def find(api: str, model: str, today: date | None = None) -> tuple[PriceList, Listed] | None:
    """The list, and the price of *model* that is in force *today*."""
    today = today or datetime.now(UTC).date()
    for entry in lists():
        if entry.api != api:
            continue
        fit = [p for p in entry.prices if any(fnmatchcase(model, m) for m in p.models)]
        begun = [p for p in fit if p.models == fit[0].models and p.begins <= today]
        if begun:
            return entry, max(begun, key=lambda p: p.begins)
    return None


def by_file(api: str, model: str, exchange: Mapping[str, float]) -> Price | None:
    """The price of *model* in dollars; None when no file has it. Raises ValueError."""
    found = find(api, model)
    if found is None:
        return None
    entry, price = found
    rate = Decimal(1)
    if entry.currency != "USD":
        if entry.currency not in exchange:
            raise ValueError(
                f"price: {entry.source} is in {entry.currency}; say what one costs in USD: "
                f"`exchange: {{{entry.currency}: 1.15}}`, or give the backend a price of its own"
            )
        rate = Decimal(str(exchange[entry.currency]))
    return _compiled(price.amounts, rate, _source(entry, price, rate))


def _source(entry: PriceList, price: Listed, rate: Decimal) -> str:
    said = f"{entry.source}, read {entry.read}, from {price.begins}"
    return said if entry.currency == "USD" else f"{said}, {entry.currency} at {rate} USD"


def _compiled(amounts: Amounts, rate: Decimal, source: str) -> Price:
    def whole(amount: Any) -> int:
        return int((amount * rate * PICO).to_integral_value())

    return Price(
        character=whole(amounts.character),
        credit=whole(amounts.credit),
        second=whole(amounts.second),
        call=whole(amounts.call),
        features={name: whole(amount) for name, amount in amounts.features.items()},
        source=source,
    )
