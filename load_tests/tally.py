"""Adds up what the answers say about themselves: which backend served, at what cost, what it saved.

Whole answers say it in the headers x-isocost-backend, -cost-usd and -saved-usd; a stream knows its
cost only at its end and says it in a last comment line `: isocost ... cost-usd=... saved-usd=...`.
Money is counted in integer pico-dollars, so that a long run adds up exactly.
"""

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

PICO = 10**12
AT_END = re.compile(rb"^: isocost .*?cost-usd=([0-9.]+)(?: saved-usd=(-?[0-9.]+))?")


class Tally:
    """Sums over one run."""

    def __init__(self) -> None:
        self.backends: Counter[str] = Counter()
        self.cost = self.saved = self.priced = 0

    def headers(self, headers: Mapping[str, str]) -> None:
        """Count one answer by its headers."""
        self.backends[headers.get("x-isocost-backend") or "not told"] += 1
        cost, saved = headers.get("x-isocost-cost-usd"), headers.get("x-isocost-saved-usd")
        if cost is not None:
            self.priced += 1
            self.cost += _pico(cost)
        if saved is not None:
            self.saved += _pico(saved)

    def line(self, line: bytes) -> None:
        """Count the cost that a stream tells in its last comment; other lines are passed over."""
        found = AT_END.match(line)
        if found is not None:
            self.priced += 1
            self.cost += _pico(found.group(1).decode())
            if found.group(2):
                self.saved += _pico(found.group(2).decode())

    def told(self) -> dict[str, Any]:
        """The sums, with None where no answer said anything."""
        whole = self.cost + self.saved
        return {
            "backends": dict(self.backends),
            "priced_calls": self.priced,
            "cost_usd": self.cost / PICO if self.priced else None,
            "saved_usd": self.saved / PICO if self.priced else None,
            "cost_per_1k_usd": self.cost * 1000 / self.priced / PICO if self.priced else None,
            "saved_share": self.saved / whole if whole > 0 else None,
        }


def _pico(text: str) -> int:
    return int(Decimal(text) * PICO)
