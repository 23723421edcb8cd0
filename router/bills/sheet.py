"""What a comparison finds: drifts by day, model and cause, and attempts that the bill settles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from router.bills.books import OPEN, UNKNOWN, Entry
from router.bills.statement import Charge
from router.ledger.record import Bill

Pricing = Callable[[Charge], int]
"""Pico-dollars of a row that says units only."""


def cost_of(charge: Charge, pricing: Pricing) -> int:
    return pricing(charge) if charge.cost is None else charge.cost


class Drift(msgspec.Struct):
    """One day of one model, for one reason. Money in pico-dollars, booked as it was before.

    agreed             both say the same
    rounding           less apart than the export is exact
    another day        as much as calls that were going on when the day began or ended
    price              the same calls, another price
    settled now        the outcome was unknown, the bill tells it
    never charged      the outcome was unknown, the vendor charged nothing
    unknown            the outcome is unknown, and the bill does not tell it
    not in the books   the vendor charged calls that we do not know
    not on the bill    we booked calls that the vendor did not charge
    not billed yet     the bill ends before it must be on it
    unexplained        the sums differ, and nothing says why
    """

    day: str
    vendor: str
    model: str
    cause: str
    calls: int = 0
    billed: int = 0
    booked: int = 0

    @property
    def drift(self) -> int:
        return self.billed - self.booked


class Result(msgspec.Struct, frozen=True):
    """What differs, and what is settled by it."""

    drifts: list[Drift]
    bills: list[Bill]


class Sheet:
    """Collects drifts by place, and bills."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._drifts: dict[tuple[str, str, str, str], Drift] = {}
        self.bills: list[Bill] = []

    def note(
        self,
        cause: str,
        at: float,
        vendor: str,
        model: str,
        *,
        calls: int,
        billed: int,
        booked: int,
    ) -> None:
        day = datetime.fromtimestamp(at, self._zone).date().isoformat()
        place = (day, vendor, model, cause)
        drift = self._drifts.setdefault(place, Drift(*place))
        drift.calls += calls
        drift.billed += billed
        drift.booked += booked

    def entry(self, cause: str, entry: Entry, billed: int = 0) -> None:
        self.note(
            cause, entry.made, entry.vendor, entry.model, calls=1, billed=billed, booked=entry.cost
        )

    def uncharged(self, entry: Entry, *, covered: bool) -> None:
        """An attempt that is not on the bill; *covered*: it would have to be."""
        if entry.state == OPEN or not covered:
            self.entry("not billed yet", entry)
        elif entry.state == UNKNOWN:
            self.entry("never charged", entry)
            self.bills.append(Bill(entry.id, None))
        else:
            self.entry("not on the bill", entry)

    def result(self) -> Result:
        return Result([drift for _, drift in sorted(self._drifts.items())], self.bills)
