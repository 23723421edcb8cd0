"""Prices as vendors quote them: so much a million tokens, a minute, a thousand images."""

from __future__ import annotations

from router.core.money import PICO, Price, usd

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
