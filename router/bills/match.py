"""A bill beside the books: what differs, why, and what of it can be settled now.

By call, where the bill has a row for each: rows go to settled attempts of the same cost, then to
settled ones at about that time (another price), then to unknown ones (`router/bills/pairs.py`).
Nobody gives an id that both sides know, so which of two equal calls was which is not told apart:
sums are the same either way. A bill that begins at some moment may lack rows of attempts that were
going on just then; they take what the others leave.

By sums, where it has days: an unknown attempt is settled only where the sum says what it cost. With
one such attempt it is what the others leave; with several, only nothing or all of their bounds.
Anything between is shared in proportion to the bounds when *share* is asked for: then each sum is
right, and whose money it was is not known.

An attempt is found never to have been charged only when the bill covers all of the time in which it
could have been, on the vendor's clock too. And as long as a call of that time is still going on
nothing is settled by rows: one may be that call's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from router.bills.books import OPEN, SETTLED, UNKNOWN, Entry, same_model
from router.bills.pairs import SLACK, Pairs, Pool, Row
from router.bills.statement import Charge, Statement
from router.ledger.record import Bill

Pricing = Callable[[Charge], int]
"""Pico-dollars of a row that says units only."""


class Drift(msgspec.Struct):
    """One day of one model, for one reason. Money in pico-dollars, booked as it was before.

    agreed             both say the same
    rounding           less apart than the export is exact
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


class _Sheet:
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

    def result(self) -> Result:
        return Result([drift for _, drift in sorted(self._drifts.items())], self.bills)


def compare(
    statement: Statement, entries: Iterable[Entry], pricing: Pricing, *, share: bool = False
) -> Result:
    """Match *statement* with attempts that were going on between its beginning and its end."""
    held = [e for e in entries if e.due + SLACK >= statement.since and e.made < statement.end]
    sheet = _Sheet(statement.zone)
    if statement.by_call:
        _by_call(statement, held, pricing, sheet)
    else:
        held = [e for e in held if statement.since <= e.made]
        _by_sum(statement, held, pricing, sheet, share=share)
    return sheet.result()


def _cost(charge: Charge, pricing: Pricing) -> int:
    return pricing(charge) if charge.cost is None else charge.cost


def _fits(charge: Charge, entry: Entry) -> bool:
    return charge.vendor in {"", entry.vendor} and same_model(entry.model, charge.model)


def _by_call(statement: Statement, entries: list[Entry], pricing: Pricing, sheet: _Sheet) -> None:
    pairs = Pairs(Row(charge, _cost(charge, pricing)) for charge in statement.charges)
    # What was booked or sent just before the bill begins comes last: its row may be missing.
    early = [e for e in entries if e.made - SLACK < statement.since]
    within = [e for e in entries if e.made - SLACK >= statement.since]
    for some in (within, early):
        settled, unknown, going = (
            [e for e in some if e.state == state] for state in (SETTLED, UNKNOWN, OPEN)
        )
        pairs.let_in(Pool(settled, equal=True))
        if some is within:
            pairs.let_in(Pool(settled), lasting=False)
        pairs.let_in(Pool(unknown, lambda row, entry: row.cost <= entry.bound))
        if some is within:
            pairs.let_in(Pool(unknown), lasting=False)
        pairs.let_in(Pool(going), lasting=False)
    clear = min((e.made for e in entries if e.state == OPEN), default=math.inf) - SLACK
    paired = set()
    for row, entry in pairs.made():
        paired.add(entry.id)
        cause = _paired(row, entry, told=entry.due + SLACK <= clear)
        sheet.entry(cause, entry, row.cost)
        if cause == "settled now":
            sheet.bills.append(Bill(entry.id, row.cost))
    for row in pairs.left():
        place = (row.charge.start, row.charge.vendor or statement.vendors[0], row.charge.model)
        sheet.note("not in the books", *place, calls=1, billed=row.cost, booked=0)
    alone = [e for e in within if e.id not in paired]
    _uncharged(min(statement.until, clear), alone, sheet)


def _paired(row: Row, entry: Entry, *, told: bool) -> str:
    if entry.state == OPEN:
        return "not billed yet"
    if entry.state == UNKNOWN:
        return "settled now" if told else "unknown"
    return "agreed" if row.cost == entry.cost else "price"


def _uncharged(until: float, entries: list[Entry], sheet: _Sheet) -> None:
    """Attempts without a row, of a bill that says everything until then."""
    for entry in entries:
        if entry.state == OPEN or entry.due + SLACK > until:
            sheet.entry("not billed yet", entry)
        elif entry.state == UNKNOWN:
            sheet.entry("never charged", entry)
            sheet.bills.append(Bill(entry.id, None))
        else:
            sheet.entry("not on the bill", entry)


def _by_sum(
    statement: Statement, entries: list[Entry], pricing: Pricing, sheet: _Sheet, *, share: bool
) -> None:
    buckets: dict[tuple[float, float, str, str], list[Charge]] = defaultdict(list)
    for charge in statement.charges:
        buckets[charge.start, charge.end, charge.vendor, charge.model].append(charge)
    left = list(entries)
    for (start, end, vendor, model), charges in sorted(buckets.items()):
        within = [e for e in left if start <= e.made < end and _fits(charges[0], e)]
        taken = {e.id for e in within}
        left = [e for e in left if e.id not in taken]
        billed = sum(_cost(c, pricing) for c in charges)
        names = {e.model for e in within}
        place = start, vendor or statement.vendors[0], names.pop() if len(names) == 1 else model
        _bucket(
            statement,
            within,
            _Sum(billed, statement.step * len(charges), place),
            sheet,
            share=share,
        )
    _uncharged(statement.until, left, sheet)


class _Sum(msgspec.Struct, frozen=True):
    """What is billed for one bucket, give or take; and where to note it."""

    billed: int
    exact_to: int
    place: tuple[float, str, str]


def _bucket(
    statement: Statement, within: list[Entry], total: _Sum, sheet: _Sheet, *, share: bool
) -> None:
    settled = [e for e in within if e.state == SETTLED]
    unknown = [e for e in within if e.state == UNKNOWN]
    for entry in within:
        if entry.state == OPEN:
            sheet.entry("not billed yet", entry)
    booked = sum(e.cost for e in settled)
    rest = total.billed - booked
    costs = None
    if unknown and all(e.due + SLACK <= statement.until for e in within):
        costs = _told(rest, [e.bound for e in unknown], total.exact_to, share=share)
    if costs is not None:
        for entry, cost in zip(unknown, costs, strict=True):
            sheet.entry("settled now" if cost else "never charged", entry, cost)
            sheet.bills.append(Bill(entry.id, cost or None))
        rest -= sum(costs)
    elif unknown:
        # What they cost is somewhere in the rest; what is above all bounds is not theirs.
        theirs = max(0, min(rest, sum(e.bound for e in unknown)))
        held = sum(e.cost for e in unknown)
        sheet.note("unknown", *total.place, calls=len(unknown), billed=theirs, booked=held)
        rest -= theirs
    if settled or rest:
        cause = _cause(rest, total.exact_to, calls=len(settled))
        early = any(e.due + SLACK > statement.until for e in within)
        if early and cause == "unexplained":
            cause = "not billed yet"
        sheet.note(cause, *total.place, calls=len(settled), billed=booked + rest, booked=booked)


def _told(rest: int, bounds: list[int], exact_to: int, *, share: bool) -> list[int] | None:
    """What each unknown attempt cost, as far as their sum tells; None when it does not."""
    most = sum(bounds)
    if not -exact_to <= rest <= most + exact_to:
        return None
    if rest <= 0:
        return [0] * len(bounds)
    if len(bounds) == 1 or rest >= most - exact_to or share:
        return _shared(min(rest, most), bounds, most)
    return None


def _shared(rest: int, bounds: list[int], most: int) -> list[int]:
    """*rest* in proportion to the bounds: whole, exact in sum, none above its bound."""
    found, given, gone = [], 0, 0
    for bound in bounds:
        gone += bound
        upto = rest * gone // most
        found.append(upto - given)
        given = upto
    return found


def _cause(rest: int, exact_to: int, *, calls: int) -> str:
    if not rest:
        return "agreed"
    if abs(rest) <= exact_to:
        return "rounding"
    return "unexplained" if calls else "not in the books"
