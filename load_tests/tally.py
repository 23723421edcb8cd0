"""Adds up what the answers say: who served them, at what cost, whether a failing backend struck.

Whole answers tell it in the headers x-isocost-backend, -cost-usd, -saved-usd, -attempts and
-reason; a stream knows its cost only at its end and tells it in a last comment line `: isocost ...
cost-usd=... saved-usd=...`. Money is counted in integer pico-dollars, so that a long run adds up
exactly. All is counters, so the sums of many workers add up to those of the run.

A call is *struck* when a backend failed it (more than one attempt), when one that was out had to be
passed by (breaker open, down, throttled), or when it got no right answer.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

PICO = 10**12
AT_END = re.compile(rb"^: isocost .*?cost-usd=([0-9.]+)(?: saved-usd=(-?[0-9.]+))?")
PASSED_BY = re.compile(r"left: (breaker open|down|throttled)")
FINE = 20  # buckets of the timeline's seconds per power of e: 5% each


class Ended(Struct, frozen=True):
    """How one call ended. `at`: seconds from the start of the run to its (scheduled) beginning."""

    at: float
    seconds: float
    status: int
    headers: Mapping[str, str]
    criticality: str = ""
    answered: bool = False
    refused: bool = False
    """As the profile expects it."""
    misshapen: bool = False
    late: bool = False


class Tally:
    """Sums over one run: `sums` of calls and money, others by name."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.backends: Counter[str] = Counter()
        self.criticality: Counter[str] = Counter()
        self.timeline: Counter[str] = Counter()

    def ended(self, call: Ended) -> None:
        """Count one call."""
        how = "answered" if call.answered else "refused" if call.refused else "failed"
        self.sums.update({"calls": 1, how: 1, "misshapen": call.misshapen, "late": call.late})
        if call.criticality:
            self.criticality.update(
                {f"{call.criticality} calls": 1, f"{call.criticality} {how}": 1}
            )
        struck = not call.refused and (how == "failed" or _struck(call.headers))
        if struck:
            self.sums.update({"struck": 1, "struck answered": call.answered})
        second = int(call.at)
        shown = "failed over" if struck and call.answered else how
        self.timeline[f"{second} {shown}"] += 1
        if call.answered:
            backend = call.headers.get("x-isocost-backend") or "not told"
            self.backends[backend] += 1
            self.timeline[f"{second} by {backend}"] += 1
            bucket = round(math.log(max(call.seconds, 1e-4)) * FINE)
            self.timeline[f"{second} took {bucket}"] += 1
            self.headers(call.headers)

    def headers(self, headers: Mapping[str, str]) -> None:
        """Count the money that a whole answer tells."""
        cost, saved = headers.get("x-isocost-cost-usd"), headers.get("x-isocost-saved-usd")
        if cost is not None:
            self._priced(cost, saved or "0")

    def line(self, line: bytes) -> None:
        """Count the cost that a stream tells in its last comment; other lines are passed over."""
        found = AT_END.match(line)
        if found is not None:
            self._priced(found.group(1).decode(), (found.group(2) or b"0").decode())

    def take(self) -> dict[str, dict[str, int]]:
        """What was counted since the last taking."""
        taken = {name: dict(counter) for name, counter in vars(self).items()}
        for counter in vars(self).values():
            counter.clear()
        return taken

    def add(self, taken: Mapping[str, Mapping[str, int]]) -> None:
        """Add what a worker took."""
        for name, counts in taken.items():
            getattr(self, name).update(counts)

    def told(self) -> dict[str, Any]:
        """The sums, with None where no answer said anything."""
        priced, cost, saved = (self.sums[name] for name in ("priced", "cost", "saved"))
        whole = cost + saved
        return {
            "backends": dict(self.backends),
            "priced_calls": priced,
            "cost_usd": cost / PICO if priced else None,
            "saved_usd": saved / PICO if priced else None,
            "cost_per_1k_usd": cost * 1000 / priced / PICO if priced else None,
            "saved_share": saved / whole if whole > 0 else None,
        }

    def _priced(self, cost: str, saved: str) -> None:
        self.sums.update({"priced": 1, "cost": _pico(cost), "saved": _pico(saved)})


def _struck(headers: Mapping[str, str]) -> bool:
    asked = headers.get("x-isocost-attempts") or "1"
    return asked not in ("0", "1") or bool(PASSED_BY.search(headers.get("x-isocost-reason") or ""))


def _pico(text: str) -> int:
    return int(Decimal(text) * PICO)
