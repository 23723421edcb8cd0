"""Which row of a bill is which attempt: as many pairs as there can be.

Nobody gives an id that both sides know. A row can be of any attempt that was going on then, of its
vendor and model, and, where that is known, of its cost. The nearest is the likeliest; but where
each row just takes the nearest, one may take the only attempt that another could be of. That one is
left over, and an unknown attempt is found never to have been charged although it was. So a row that
is left looks for a chain: it takes the attempt of another row, which takes that of a third, until
one finds an attempt that is free. Without such a chain there are no more pairs (Berge's theorem),
and a row that finds none need not be looked at again. What has a pair keeps one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator

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


class Pool:
    """Attempts that rows may be of, by the moment when they were made.

    *equal*: only rows of the same cost; they are then found without looking at the others.
    """

    def __init__(
        self, entries: Iterable[Entry], allows: Allows | None = None, *, equal: bool = False
    ) -> None:
        self._allows, self._equal = allows, equal
        self._found: dict[Hashable, list[Entry]] = defaultdict(list)
        self._longest = 0.0
        for entry in sorted(entries, key=lambda entry: entry.made):
            self._found[entry.cost if equal else None].append(entry)
            self._longest = max(self._longest, entry.due - entry.made)

    def near(self, row: Row) -> Iterator[Entry]:
        """Those that it can be of, the nearest first."""
        entries = self._found.get(row.cost if self._equal else None, [])
        at = row.charge.start
        low = bisect_left(entries, at - self._longest - SLACK, key=lambda entry: entry.made)
        high = bisect_right(entries, at + SLACK, key=lambda entry: entry.made)
        after = bisect_right(entries, at, lo=low, hi=high, key=lambda entry: entry.made)
        before = after - 1
        while before >= low or after < high:
            later = before < low or (
                after < high and entries[after].made - at < at - entries[before].made
            )
            entry = entries[after if later else before]
            before, after = (before, after + 1) if later else (before - 1, after)
            if self._can(row, entry):
                yield entry

    def _can(self, row: Row, entry: Entry) -> bool:
        charge = row.charge
        return (
            charge.start <= entry.due + SLACK
            and charge.vendor in {"", entry.vendor}
            and same_model(entry.model, charge.model)
            and (self._allows is None or self._allows(row, entry))
        )


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
        # The dearest first: where too few attempts are left, no row costs more than those that
        # have a pair, so what is settled by them is never too low.
        for number, row in self._dearest():
            free = (entry for entry in pool.near(row) if entry.id not in self._row)
            nearest = next(free, None)
            if nearest is not None:
                self._pair(number, nearest)
        pools = [*self._lasting, pool]
        dead: set[str] = set()
        for number, _ in self._dearest():
            self._chain(number, pools, dead)
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

    def _chain(self, number: int, pools: list[Pool], dead: set[str]) -> None:
        """Find a free attempt along a shortest chain; attempts seen in vain are *dead*."""
        came: dict[str, tuple[int, Entry]] = {}
        waiting = deque([number])
        while waiting:
            asking = waiting.popleft()
            for entry in (e for pool in pools for e in pool.near(self._rows[asking])):
                if entry.id in dead or entry.id in came:
                    continue
                came[entry.id] = asking, entry
                owner = self._row.get(entry.id)
                if owner is None:
                    self._move(entry, came)
                    return
                waiting.append(owner)
        dead.update(came)

    def _move(self, free: Entry, came: dict[str, tuple[int, Entry]]) -> None:
        """Every row of the chain takes the attempt that it asked for."""
        entry: Entry | None = free
        while entry is not None:
            asking, _ = came[entry.id]
            given_up = self._entry.get(asking)
            self._pair(asking, entry)
            entry = given_up
