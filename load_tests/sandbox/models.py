"""A vendor's models with their prices, read from a data file."""

from pathlib import Path

import yaml
from msgspec import Struct

from load_tests.sandbox.price import Price, flat

MILLION = 1_000_000  # the units that an amount of the file is for


class Model(Struct, frozen=True):
    """One model: `window` and `max_output` in tokens, `created` in seconds since the epoch."""

    name: str
    answers_as: str
    endpoints: tuple[str, ...]
    price: Price
    created: int
    window: int = 0
    max_output: int = 0
    dimensions: int = 0


def read_models(path: Path) -> dict[str, Model]:
    """The models of a file, by the names that a call may use (name and snapshot)."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    models: dict[str, Model] = {}
    for name, entry in listed.items():
        price = flat(MILLION, entry.pop("price"))
        endpoints = tuple(entry.pop("endpoints"))
        model = Model(name=name, price=price, endpoints=endpoints, **entry)
        models[name] = model
        models[model.answers_as] = model
    return models
