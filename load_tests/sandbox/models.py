"""A vendor's models with their prices, read from a data file."""

from decimal import Decimal
from pathlib import Path

import yaml
from msgspec import Struct

from load_tests.sandbox.bill import Price

PICO_PER_TOKEN = 1_000_000  # one dollar a million tokens, in pico-dollars a token


class Model(Struct, frozen=True):
    """One model: `window` and `max_output` in tokens, `created` in seconds since the epoch."""

    name: str
    answers_as: str
    endpoints: tuple[str, ...]
    price: Price
    window: int
    max_output: int
    created: int
    dimensions: int = 0


def read_models(path: Path) -> dict[str, Model]:
    """The models of a file, by the names that a call may use (name and snapshot)."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    models: dict[str, Model] = {}
    for name, entry in listed.items():
        prices = {unit: _pico(text) for unit, text in entry.pop("price").items()}
        endpoints = tuple(entry.pop("endpoints"))
        model = Model(name=name, price=Price(**prices), endpoints=endpoints, **entry)
        models[name] = model
        models[model.answers_as] = model
    return models


def _pico(text: str) -> int:
    amount = Decimal(text) * PICO_PER_TOKEN
    if amount != int(amount):
        raise ValueError(f"{text} USD a million tokens is no whole number of pico-dollars a token")
    return int(amount)
