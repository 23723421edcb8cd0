"""Which row of a bill is which attempt: as many pairs as there can be.

Nobody gives an id that both sides know. A row can be of any attempt that was going on then, of its
vendor and model, and, where that is known, of its cost. The nearest is the likeliest; but where
each row just takes the nearest, one may take the only attempt that another could be of. That one is
left over, and an unknown attempt is found never to have been charged although it was. So a row that
is left looks for a chain: it takes the attempt of another row, which takes that of a third, until
one finds an attempt that is free. Without such a chain there are no more pairs (Berge's theorem),
and a row that finds none need not be looked at again. What has a pair keeps one.

An attempt is looked at once in a search, however many rows it could be of: those that were seen
are passed over by pointers to the next that was not (union-find). So a search takes as long as
there are attempts, though thousands may be going on at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from copy import copy
from heapq import merge

import msgspec

from router.bills.books import Entry, same_model
from router.bills.statement import Charge

SLACK = 5.0
"""Seconds that the vendor's clock may differ from ours."""


class Row(msgspec.Struct, frozen=True):
    """A row of a bill with what it costs, in pico-dollars."""

    charge: Charge
    cost: int


Allows = Callable[[Row, Entry], bool]
"""Whether the row may be of this attempt, as far as their costs tell."""


class _Lane:
    """Attempts of one model (and of one cost, where that is known), by when they were made.

    Those that are marked are passed over; `copy` shares the attempts, not the marks.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.made)
        self._made = [entry.made for entry in self.entries]
        self._longest = max(entry.due - entry.made for entry in entries)
        self.after = list(range(len(entries) + 1))
        self.before = list(range(len(entries) + 1))

    def copy(self) -> _Lane:
        twin = copy(self)
        twin.after, twin.before = self.after[:], self.before[:]
        return twin

    def mark(self, index: int) -> None:
        self.after[index], self.before[index + 1] = index + 1, index

    def near(self, at: float) -> Iterator[tuple[float, int]]:
        """(seconds from it, place) of those that were going on at *at*, the nearest first."""
        made, entries = self._made, self.entries
        low = bisect_left(made, at - self._longest - SLACK)
        high = bisect_right(made, at + SLACK)
        place = bisect_right(made, at, low, high)
        left, right = _end(self.before, place) - 1, _end(self.after, place)
        while left >= low or right < high:
            if left < low or (right < high and made[right] - at < at - made[left]):
                index, right = right, _end(self.after, right + 1)
            else:
                index, left = left, _end(self.before, left) - 1
            if at <= entries[index].due + SLACK:
                yield abs(at - made[index]), index


def _end(links: list[int], at: int) -> int:
    """Where the links lead; the way is made shorter meanwhile."""
    while links[at] != at:
        links[at] = at = links[links[at]]
    return at


Place = tuple[float, int, int]
"""Seconds between a row and an attempt; the attempt's lane and its place there."""


class Pool:
    """Attempts that rows may be of.

    *equal*: only rows of the same cost; they are then found without looking at the others.
    """

    def __init__(
        self, entries: Iterable[Entry], allows: Allows | None = None, *, equal: bool = False
    ) -> None:
        self._allows, self._equal = allows, equal
        found: dict[tuple[str, str, int], list[Entry]] = {}
        for entry in entries:
            found.setdefault((entry.vendor, entry.model, entry.cost if equal else 0), []).append(
                entry
            )
        self.lanes = [_Lane(some) for some in found.values()]
        self._by_kind: dict[tuple[int, str, str], list[int]] = {}
        for number, kind in enumerate(found):
            self._by_kind.setdefault((kind[2], kind[0], kind[1]), []).append(number)
        self._of: dict[tuple[str, str, int], list[int]] = {}

    def copy(self) -> Pool:
        """The same attempts with marks of their own."""
        twin = copy(self)
        twin.lanes = [lane.copy() for lane in self.lanes]
        return twin

    def entry(self, place: Place) -> Entry:
        return self.lanes[place[1]].entries[place[2]]

    def mark(self, place: Place) -> None:
        """Pass over it from now on."""
        self.lanes[place[1]].mark(place[2])

    def mark_all(self, gone: Container[str]) -> None:
        """Pass over those with these ids."""
        for lane in self.lanes:
            for index, entry in enumerate(lane.entries):
                if entry.id in gone:
                    lane.mark(index)

    def near(self, row: Row) -> Iterator[Place]:
        """Those that it can be of and that are not marked, the nearest first."""
        at, allows = row.charge.start, self._allows
        ways = [self._way(number, at) for number in self._lanes_of(row)]
        for place in ways[0] if len(ways) == 1 else merge(*ways):
            if allows is None or allows(row, self.entry(place)):
                yield place

    def _way(self, number: int, at: float) -> Iterator[Place]:
        return ((far, number, index) for far, index in self.lanes[number].near(at))

    def _lanes_of(self, row: Row) -> list[int]:
        charge = row.charge
        kind = charge.vendor, charge.model, row.cost if self._equal else 0
        if kind not in self._of:
            self._of[kind] = [
                number
                for (cost, vendor, model), numbers in self._by_kind.items()
                if cost == kind[2]
                and charge.vendor in {"", vendor}
                and same_model(model, charge.model)
                for number in numbers
            ]
        return self._of[kind]


class Pairs:
    """Rows and the attempts that they are of. Pools are let in one after the other."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = sorted(rows, key=lambda row: row.charge.start)
        self._entry: dict[int, Entry] = {}
        self._row: dict[str, int] = {}
        self._lasting: list[Pool] = []

    def let_in(self, pool: Pool, *, lasting: bool = True) -> None:
        """Rows that are left take attempts of *pool*, as many as can.

        *lasting*: rows may move to these attempts later too, to make room for others.
        """
        free = pool.copy()
        free.mark_all(self._row)
        # The dearest first: where too few attempts are left, no row costs more than those that
        # have a pair, so what is settled by them is never too low.
        for number, row in self._dearest():
            nearest = next(free.near(row), None)
            if nearest is not None:
                free.mark(nearest)
                self._pair(number, free.entry(nearest))
        pools = [*self._lasting, pool]
        unseen = [pool.copy() for pool in pools]
        for number, _ in self._dearest():
            tried = [pool.copy() for pool in unseen]
            if not self._chain(number, tried):
                unseen = tried  # what was seen in vain leads nobody anywhere
        if lasting:
            self._lasting = pools

    def made(self) -> list[tuple[Row, Entry]]:
        """The pairs, in the order of their rows."""
        return [(row, self._entry[n]) for n, row in enumerate(self._rows) if n in self._entry]

    def left(self) -> list[Row]:
        """Rows that are of no attempt yet."""
        return [row for _, row in self._left()]

    def _left(self) -> list[tuple[int, Row]]:
        return [(n, row) for n, row in enumerate(self._rows) if n not in self._entry]

    def _dearest(self) -> list[tuple[int, Row]]:
        return sorted(self._left(), key=lambda left: -left[1].cost)

    def _pair(self, number: int, entry: Entry) -> None:
        self._entry[number], self._row[entry.id] = entry, number

    def _chain(self, number: int, pools: list[Pool]) -> bool:
        """Find a free attempt along a shortest chain; all that were seen are marked in *pools*."""
        came: dict[str, tuple[int, Entry]] = {}
        waiting = deque([number])
        while waiting:
            asking = waiting.popleft()
            for pool in pools:
                for place in pool.near(self._rows[asking]):
                    pool.mark(place)
                    entry = pool.entry(place)
                    if entry.id in came:
                        continue
                    came[entry.id] = asking, entry
                    owner = self._row.get(entry.id)
                    if owner is None:
                        self._move(entry, came)
                        return True
                    waiting.append(owner)
        return False

    def _move(self, free: Entry, came: dict[str, tuple[int, Entry]]) -> None:
        """Every row of the chain takes the attempt that it asked for."""
        entry: Entry | None = free
        while entry is not None:
            asking, _ = came[entry.id]
            given_up = self._entry.get(asking)
            self._pair(asking, entry)
            entry = given_up
