"""What a vendor says that it charged, in one form for all vendors."""

from __future__ import annotations

import msgspec

MICRO = 10**6
"""Pico-dollars of a micro-dollar: binary fractions in exports are exact to less than that."""


class Unreadable(ValueError):
    """The export cannot be read; the message says what is wrong, where, and what to do."""


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One row: of a call, or of all calls from *start* until *end* (unix seconds)."""

    start: float
    end: float
    model: str = ""
    """As the vendor writes it; "": the export does not name models."""
    vendor: str = ""
    """The wire format, where an export is of several."""
    cost: int | None = None
    """Pico-dollars; None: the export says units only."""
    units: dict[str, float] = {}
    """By the names of `Usage`, where the export says them."""
    calls: int | None = None
    id: str = ""
    """The vendor's own name for the call."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of an export.

    From *since* until *until* it says everything: what is not in it then was not charged.
    """

    vendors: tuple[str, ...]
    """Names of the wire formats (`api`) whose calls these are."""
    charges: list[Charge]
    since: float
    until: float
    by_call: bool = False
    """Each row is one call."""
    zone: str = "UTC"
    """In which its days begin."""
    step: int = MICRO
    """Amounts of a row are exact to so many pico-dollars."""

    @property
    def end(self) -> float:
        """The end of its last row: it says something until then, though perhaps not everything."""
        return max([self.until, *(charge.end for charge in self.charges)])


def stated(vendors: tuple[str, ...], charges: list[Charge], **more: object) -> Statement:
    """A statement that covers what its rows cover. Raises Unreadable when there are none."""
    if not charges:
        raise Unreadable("the export has no rows for this vendor")
    since, until = min(c.start for c in charges), max(c.end for c in charges)
    given = {"vendors": vendors, "charges": charges, "since": since, "until": until} | more
    return Statement(**given)  # type: ignore[arg-type]
