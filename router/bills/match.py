"""A bill beside the books: what differs, why, and what of it can be settled now.

By call, where the bill has a row for each: rows go to settled attempts of the same cost, then to
unknown ones at about that time, the dearest first, then to settled ones (another price). Nobody
gives an id that both sides know, so which of two equal calls was which is not told apart: sums are
the same either way. At the edges of a bill rows may be missing of attempts that were going on just
then; they take what the others leave (`router/bills/pairs.py`).

What is settled leaves the books at the bill or above it. So nothing is settled by rows

* for less than a row costs that is left over within a day: the vendor's clock may be wrong, or a
  stranger with the same key has taken the attempt's own row;
* as long as a call of that time is still going on, for a row may be that call's.

An attempt is found never to have been charged only when the bill covers all of the time in which it
could have been, on the vendor's clock too. Bills of days are in `router/bills/sums.py`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from router.bills.books import DAY, OPEN, SETTLED, UNKNOWN, Entry, same_model
from router.bills.pairs import SLACK, Pairs, Pool, Row
from router.bills.sheet import Drift, Pricing, Result, Sheet, cost_of
from router.bills.statement import Statement
from router.bills.sums import by_sum
from router.ledger.record import Bill

__all__ = ["Drift", "Result", "compare"]


def compare(
    statement: Statement, entries: Iterable[Entry], pricing: Pricing, *, share: bool = False
) -> Result:
    """Match *statement* with attempts that were going on between its beginning and its end."""
    since, end = statement.since - SLACK, statement.end
    held = [e for e in entries if e.due >= since and e.made < end]
    sheet = Sheet(statement.zone)
    if statement.by_call:
        _by_call(statement, held, pricing, sheet)
    else:
        by_sum(statement, held, pricing, sheet, share=share)
    return sheet.result()


def _by_call(statement: Statement, entries: list[Entry], pricing: Pricing, sheet: Sheet) -> None:
    pairs = _paired(statement, entries, pricing)
    clear = min((e.made for e in entries if e.state == OPEN), default=math.inf) - SLACK
    strange = _Strange(pairs.left(), entries)
    exact = all(row.cost == e.cost for row, e in pairs.made() if e.state == SETTLED)
    paired = set()
    for row, entry in pairs.made():
        paired.add(entry.id)
        # Where prices differ, a row that an early one has may be that of a settled attempt.
        sure = exact or entry.made - SLACK >= statement.since
        told = sure and entry.due + SLACK <= clear and strange.most(entry) <= row.cost
        cause = _cause(row, entry, told=told)
        sheet.entry(cause, entry, row.cost)
        if cause == "settled now":
            sheet.bills.append(Bill(entry.id, row.cost))
    for row in pairs.left():
        place = (row.charge.start, row.charge.vendor or statement.vendors[0], row.charge.model)
        sheet.note("not in the books", *place, calls=1, billed=row.cost, booked=0)
    until = min(statement.until, clear)
    for entry in entries:
        if entry.id in paired or entry.made - SLACK < statement.since:
            continue
        if entry.state == UNKNOWN and entry.due + SLACK <= until and strange.most(entry):
            sheet.entry("unknown", entry)
        else:
            sheet.uncharged(entry, covered=entry.due + SLACK <= until)


def _paired(statement: Statement, entries: list[Entry], pricing: Pricing) -> Pairs:
    """What was going on at an edge of the bill comes last: its row may be missing."""
    pairs = Pairs(Row(charge, cost_of(charge, pricing)) for charge in statement.charges)
    early = [e for e in entries if e.made - SLACK < statement.since]
    within = [e for e in entries if e.made - SLACK >= statement.since]
    late = [e for e in within if e.due + SLACK > statement.until]
    inside = [e for e in within if e.due + SLACK <= statement.until]
    for some in (inside, late, early):
        _sure(pairs, some)
    settled, unknown, going = _by_state(within)
    pairs.let_in(Pool(settled), lasting=False)
    pairs.let_in(Pool(unknown), lasting=False)
    pairs.let_in(Pool(going), lasting=False)
    pairs.let_in(Pool(_by_state(early)[2]), lasting=False)
    return pairs


def _sure(pairs: Pairs, some: list[Entry]) -> None:
    """Rows that cost what was booked, or what an unknown attempt may have cost."""
    settled, unknown, _ = _by_state(some)
    pairs.let_in(Pool(settled, equal=True))
    pairs.let_in(Pool(unknown, lambda row, entry: row.cost <= entry.bound))


def _by_state(some: list[Entry]) -> tuple[list[Entry], ...]:
    return tuple([e for e in some if e.state == state] for state in (SETTLED, UNKNOWN, OPEN))


def _cause(row: Row, entry: Entry, *, told: bool) -> str:
    if entry.state == OPEN:
        return "not billed yet"
    if entry.state == UNKNOWN:
        return "settled now" if told else "unknown"
    return "agreed" if row.cost == entry.cost else "price"


class _Strange:
    """Rows that are of no attempt, and yet may be of one.

    Namely of one at another time of that day, or whose model is called otherwise on the bill.
    """

    def __init__(self, rows: list[Row], entries: list[Entry]) -> None:
        self._models = {entry.model for entry in entries}
        self._most: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for row in rows:
            days = self._most[row.charge.vendor, row.charge.model]
            day = int(row.charge.start // DAY)
            days[day] = max(days.get(day, 0), row.cost)

    def most(self, entry: Entry) -> int:
        """What the dearest of them costs that *entry* may be of; 0: there is none."""
        near = range(int((entry.made - DAY) // DAY), int((entry.due + DAY) // DAY) + 1)
        found = [
            days.get(day, 0)
            for (vendor, model), days in self._most.items()
            if vendor in {"", entry.vendor} and self._may(entry, model)
            for day in near
        ]
        return max(found, default=0)

    def _may(self, entry: Entry, model: str) -> bool:
        return same_model(entry.model, model) or not any(
            same_model(known, model) for known in self._models
        )
