"""A bill of days beside the books: what its sums tell, and no more.

An unknown attempt is settled only where the sum says what it cost. With one such attempt it is what
the others leave; with several, only nothing or all of their bounds. Anything between is shared in
proportion to the bounds when *share* is asked for: whose money it was is then not known.

What is told leaves the books at the bill or above it:

* sums that an unknown attempt may be in are one sum: of days between which it was going on, of
  models that one alias stood for;
* a settled attempt that was going on when its day began or ended may be on another day's sum, so
  what the others leave may be as much more as it cost.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from router.bills.books import DAY, OPEN, SETTLED, UNKNOWN, Entry, same_model
from router.bills.pairs import SLACK
from router.bills.sheet import Pricing, Sheet, cost_of
from router.bills.statement import Statement
from router.ledger.record import Bill


class _Bucket(msgspec.Struct, eq=False):
    """The sum of one day and model, and the attempts in it. Money in pico-dollars."""

    start: float
    end: float
    vendor: str
    model: str
    billed: int = 0
    exact_to: int = 0
    entries: list[Entry] = []
    gone: int = 0
    """What settled attempts of it cost that may be on another sum."""
    come: int = 0
    """What settled attempts of others cost that may be on this one."""
    into: _Bucket | None = None
    """The one that it is added to, for their attempts cannot be told apart."""

    def fits(self, entry: Entry) -> bool:
        return self.vendor in {"", entry.vendor} and same_model(entry.model, self.model)

    def touches(self, entry: Entry) -> bool:
        """Whether it may be billed in this time."""
        return self.start <= entry.due + SLACK and entry.made - SLACK < self.end

    def holds(self, entry: Entry) -> bool:
        return self.start <= entry.made < self.end

    def whole(self) -> _Bucket:
        found = self
        while found.into is not None:
            found = found.into
        return found


def by_sum(
    statement: Statement, entries: list[Entry], pricing: Pricing, sheet: Sheet, *, share: bool
) -> None:
    """Compare sums of days with attempts made since the bill begins."""
    entries = [e for e in entries if statement.since <= e.made]
    buckets = _buckets(statement, pricing)
    fitting: dict[tuple[str, str], list[_Bucket]] = {}
    left: list[Entry] = []
    elsewhere: list[tuple[Entry, list[_Bucket]]] = []
    for entry in entries:
        name = entry.vendor, entry.model
        if name not in fitting:
            fitting[name] = [b for b in buckets if b.fits(entry)]
        near = [b for b in fitting[name] if b.touches(entry)]
        mine = [b for b in near if entry.state != SETTLED or b.holds(entry)]
        for other in mine[1:]:
            _join(mine[0], other)
        if mine:
            mine[0].entries.append(entry)
        else:
            left.append(entry)
        if entry.state == SETTLED:
            elsewhere.append((entry, near))
    strange = []
    for whole in _wholes(buckets, elsewhere, statement.since):
        known = bool(whole.entries) or any(whole in found for found in fitting.values())
        rest = _compare(statement, whole, sheet, share=share)
        if rest > whole.exact_to and not known:
            strange.append(whole)
    _left(statement, left, strange, sheet)


def _buckets(statement: Statement, pricing: Pricing) -> list[_Bucket]:
    found: dict[tuple[float, float, str, str], _Bucket] = {}
    for charge in statement.charges:
        place = charge.start, charge.end, charge.vendor, charge.model
        bucket = found.setdefault(place, _Bucket(*place))
        bucket.billed += cost_of(charge, pricing)
        bucket.exact_to += statement.step
    return [bucket for _, bucket in sorted(found.items())]


def _join(one: _Bucket, other: _Bucket) -> None:
    one, other = one.whole(), other.whole()
    if one is not other:
        other.into = one


def _wholes(
    buckets: list[_Bucket], settled: Iterable[tuple[Entry, list[_Bucket]]], since: float
) -> list[_Bucket]:
    """Those that are not added to another, with all that is in them."""
    for bucket in buckets:
        whole = bucket.whole()
        if whole is not bucket:
            whole.start = min(whole.start, bucket.start)
            whole.billed += bucket.billed
            whole.exact_to += bucket.exact_to
            whole.entries += bucket.entries
    for entry, near in settled:
        mine = {b.whole() for b in near if b.holds(entry)}
        others = {b.whole() for b in near} - mine
        for whole in others:
            whole.come += entry.cost
        if others or entry.made - SLACK < since:
            for whole in mine:
                whole.gone += entry.cost
    return [bucket for bucket in buckets if bucket.into is None]


def _compare(statement: Statement, whole: _Bucket, sheet: Sheet, *, share: bool) -> int:
    """Note one sum, and settle what it tells. Returns what of it is nobody's."""
    settled, unknown, going = (
        [e for e in whole.entries if e.state == state] for state in (SETTLED, UNKNOWN, OPEN)
    )
    names = {e.model for e in whole.entries}
    model = names.pop() if len(names) == 1 else whole.model
    place = whole.start, whole.vendor or statement.vendors[0], model
    for entry in going:
        sheet.entry("not billed yet", entry)
    booked = sum(e.cost for e in settled)
    rest = whole.billed - booked
    over = all(e.due + SLACK <= statement.until for e in whole.entries)
    costs = None
    if unknown and over and all(e.made - SLACK >= statement.since for e in unknown):
        bounds = [e.bound for e in unknown]
        costs = _told(rest + whole.gone, bounds, whole.exact_to, share=share)
    if costs is not None:
        for entry, cost in zip(unknown, costs, strict=True):
            sheet.entry("settled now" if cost else "never charged", entry, cost)
            sheet.bills.append(Bill(entry.id, cost or None))
        rest -= sum(costs)
    elif unknown:
        # What they cost is somewhere in the rest; what is above all bounds is not theirs.
        theirs = max(0, min(rest, sum(e.bound for e in unknown)))
        held = sum(e.cost for e in unknown)
        sheet.note("unknown", *place, calls=len(unknown), billed=theirs, booked=held)
        rest -= theirs
    if settled or rest:
        cause = _cause(whole, rest, calls=len(settled))
        if not over and cause in {"unexplained", "another day"}:
            cause = "not billed yet"
        sheet.note(cause, *place, calls=len(settled), billed=booked + rest, booked=booked)
    return rest


def _left(statement: Statement, left: list[Entry], strange: list[_Bucket], sheet: Sheet) -> None:
    """Attempts of no sum: not charged, unless they are in one whose model nobody here knows."""
    for entry in left:
        covered = entry.due + SLACK <= statement.until
        unsure = entry.made - SLACK < statement.since or any(
            b.vendor in {"", entry.vendor} and b.start - DAY <= entry.made < b.end + DAY
            for b in strange
        )
        if covered and unsure and entry.state == UNKNOWN:
            sheet.entry("unknown", entry)
        else:
            sheet.uncharged(entry, covered=covered)


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


def _cause(whole: _Bucket, rest: int, *, calls: int) -> str:
    if not rest:
        return "agreed"
    if abs(rest) <= whole.exact_to:
        return "rounding"
    if -whole.gone - whole.exact_to <= rest <= whole.come + whole.exact_to:
        return "another day"
    return "unexplained" if calls else "not in the books"
