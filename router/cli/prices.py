"""`isocost prices`: what is in force for this configuration, and where it comes from."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.cli.check import load
from router.config import ConfigError
from router.core.money import PICO, usd


def main(words: list[str]) -> int:
    options = parser("prices")
    options.add_argument("config", type=Path, nargs="?", default=Path("isocost.yaml"))
    given = options.parse_args(words)
    try:
        pipeline = load(given.config, sandbox=True)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    table = Table("backend", "model", "in $/M", "cached $/M", "out $/M", "$/call", "$/h", "source")
    for backend in pipeline.backends.values():
        price = backend.price
        million = (price.input_token, price.cached_token, price.output_token)
        table.add_row(
            backend.name,
            backend.model,
            *[usd(token * 10**6) for token in million],
            usd(price.call),
            f"{price.machine_second * 3600 / PICO:.4g}",
            price.source,
        )
    Console().print(table)
    return 0
