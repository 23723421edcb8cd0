"""`isocost prices`: what is in force for this configuration, and where it comes from."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router.cli import parser
from router.cli.check import load
from router.config import ConfigError
from router.core.money import PICO, Price, usd
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
    table = Table("backend", "model", "price in USD", "not counted", "source")
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


UNITS = (
    ("input_token", 10**6, "million input tokens"),
    ("cached_token", 10**6, "million cached tokens"),
    ("written_token", 10**6, "million tokens written to a cache"),
    ("output_token", 10**6, "million output tokens"),
    ("audio_input_token", 10**6, "million input tokens of audio"),
    ("audio_output_token", 10**6, "million output tokens of audio"),
    ("character", 10**6, "million characters"),
    ("credit", 1000, "thousand credits"),
    ("second", 60, "minute of audio"),
    ("call", 1, "call"),
)


def amounts(price: Price) -> list[str]:
    """Each unit of a price, in the amounts that vendors quote."""
    lines = [
        f"{usd(getattr(price, unit) * times)} a {word}"
        for unit, times, word in UNITS
        if getattr(price, unit)
    ]
    by_price: dict[int, list[str]] = {}
    for feature, amount in price.features.items():
        by_price.setdefault(amount, []).append(feature)
    lines += [f"{usd(a * 1000)} a thousand images: {', '.join(f)}" for a, f in by_price.items()]
    if price.machine_second:
        lines.append(f"{price.machine_second * 3600 / PICO:.4g} an hour of the machine")
    if price.long is not None:
        lines.append(f"above {price.long_from} input tokens: {', '.join(amounts(price.long))}")
    return lines


def _uncounted(listed: Listed) -> list[str]:
    """What may make the vendor's bill smaller than the costs that are told."""
    free = [
        f"{count} of each {unit.rstrip('s')} a month free" for unit, count in listed.free.items()
    ]
    return free + [f"cheaper above {tier.above} a month" for tier in listed.tiers]
