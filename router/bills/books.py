"""Our own side: every paid attempt, from the ledger, or from the journal where there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from sqlalchemy import Engine

from router.journal.files import records
from router.journal.record import Record
from router.ledger import books

SETTLED, UNKNOWN, OPEN = "settled", "unknown", "open"
"""Its cost is known; it was sent and nobody knows what it cost; it may still be going on."""
State = Literal["settled", "unknown", "open"]
_STATES: Mapping[str, State] = {"S": "settled", "C": "unknown", "D": "open"}
_DATED = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}")
UNCERTAIN = {"lost", "cancelled"}
"""Verdicts after which a vendor may have charged something else than was booked."""
DAY = 86400.0


class Entry(msgspec.Struct, frozen=True):
    """One paid attempt in our books. Money in pico-dollars, times in unix seconds."""

    id: str
    call: str
    vendor: str
    model: str
    backend: str
    state: State
    bound: int
    cost: int
    """What is booked: the bound, while it is unknown or open."""
    made: float
    due: float
    """It is surely over then."""


def spread(entry: Entry, seconds: float) -> Entry:
    """*entry* as one whose clock was wrong by so much at most, one way or the other."""
    return msgspec.structs.replace(entry, made=entry.made - seconds, due=entry.due + seconds)


class Place(msgspec.Struct, frozen=True):
    """What a backend of the configuration stands for."""

    vendor: str
    model: str


def same_model(booked: str, billed: str) -> bool:
    """Whether a bill's model is ours: bills name the dated one that an alias stands for."""
    if not billed or booked == billed:
        return True
    long, short = (billed, booked) if len(billed) > len(booked) else (booked, billed)
    return long.startswith(short) and bool(_DATED.fullmatch(long[len(short) :]))


def from_ledger(
    engine: Engine, vendors: Collection[str], since: float, until: float, most: int = 1_000_000
) -> list[Entry]:
    """Attempts made in this time that were sent, the oldest first. Free ones are left out."""
    found: list[Entry] = []
    for vendor in vendors:
        rows = books.attempts(
            engine, tuple(_STATES), since=since, until=until, vendor=vendor, most=most
        )
        for row in rows:
            state = _STATES[row.state]
            cost = row.bound if row.cost is None or state != SETTLED else row.cost
            if state == SETTLED and not cost:
                continue
            entry = Entry(
                row.id,
                row.call,
                row.vendor,
                row.model,
                row.backend,
                state,
                row.bound,
                cost,
                row.made,
                row.due,
            )
            found.append(entry)
    return sorted(found, key=lambda entry: (entry.made, entry.id))


def from_journal(
    folder: Path, backends: Mapping[str, Place], since: float, until: float
) -> list[Entry]:
    """Paid attempts of *backends*. What was lost or cut is booked at its bound: unknown."""
    found = list(_paid(records(folder, since - DAY, until), backends))
    return sorted(
        (entry for entry in found if since <= entry.made < until),
        key=lambda entry: (entry.made, entry.id),
    )


def _paid(found: Iterable[Record], backends: Mapping[str, Place]) -> Iterator[Entry]:
    for record in found:
        for number, tried in enumerate(record.attempts):
            place = backends.get(tried.backend)
            if place is None or not tried.cost:
                continue
            unknown = tried.verdict in UNCERTAIN or record.usage is None
            later = sum(a.seconds for a in record.attempts[number:])
            yield Entry(
                f"{record.call_id}/{number}",
                record.call_id,
                place.vendor,
                place.model,
                tried.backend,
                "unknown" if unknown else "settled",
                tried.bound,
                tried.cost,
                record.ended - later,
                record.ended,
            )
