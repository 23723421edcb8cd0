"""`isocost prices`: what is in force for this configuration, and where it comes from."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.cli.amounts import amounts
from router.cli.check import load
from router.config import ConfigError
from router.prices.files import Listed, find


def main(words: list[str]) -> int:
    options = parser("prices")
    options.add_argument("config", type=Path, nargs="?", default=Path("isocost.yaml"))
    given = options.parse_args(words)
    try:
        pipeline = load(given.config, sandbox=True)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    table = Table()
    for title in ("backend", "model", "price in USD", "not counted", "source"):
        table.add_column(title, overflow="fold")  # a price without its end, or source, says nothing
    for name, backend in pipeline.backends.items():
        spec = pipeline.config.backends[name]
        listed = find(spec.api, spec.model) if spec.price is None else None
        table.add_row(
            backend.name,
            backend.model,
            "\n".join(amounts(backend.price)) or "nothing",
            "\n".join(_uncounted(listed[1])) if listed else "",
            backend.price.source,
        )
    Console().print(table)
    return 0


def _uncounted(listed: Listed) -> list[str]:
    """What may make the vendor's bill smaller than the costs that are told."""
    free = [
        f"{count} of each {unit.rstrip('s')} a month free" for unit, count in listed.free.items()
    ]
    return free + [f"cheaper above {tier.above} a month" for tier in listed.tiers]
