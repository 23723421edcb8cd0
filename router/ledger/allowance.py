"""What one process may spend while the store is away. Nothing, unless the operator said so.

    worst case beyond the limits = processes started x allowance

for what is spent of it is given back only after it was written to the store and fitted under its
limits; what did not fit is written too, and is gone from the allowance until the process ends.
What a process spent that was killed before the store came back is not in the books.
"""

from __future__ import annotations

import time

import msgspec

from .record import Ask


class Spent(msgspec.Struct, frozen=True):
    """An attempt that has to be written. *cost* None: nobody knows, its bound."""

    ask: Ask
    cost: int | None
    units: str
    at: float

    @property
    def amount(self) -> int:
        return self.ask.bound if self.cost is None else self.cost


class Allowance:
    """Counts in memory, in the loop only."""

    def __init__(self, amount: int) -> None:
        self.left = amount
        self._held: dict[str, float] = {}
        self._settled: list[Spent] = []

    def take(self, ask: Ask) -> bool:
        """Hold the bound of *ask*, where there is room."""
        if ask.bound > self.left:
            return False
        self.left -= ask.bound
        self._held[ask.id] = time.time()
        return True

    def holds(self, ask: Ask) -> bool:
        return ask.id in self._held

    def release(self, ask: Ask) -> None:
        """Nothing was sent. Once only, as all that follows."""
        if self._held.pop(ask.id, None) is not None:
            self.left += ask.bound

    def settle(self, ask: Ask, cost: int | None, units: str) -> None:
        at = self._held.pop(ask.id, None)
        if at is not None:
            spent = Spent(ask, cost, units, at)
            self.left += ask.bound - spent.amount
            self._settled.append(spent)

    def settled(self) -> list[Spent]:
        """What has to be written, given out once."""
        settled, self._settled = self._settled, []
        return settled

    def fitted(self, spent: Spent) -> None:
        """It is in the books, and under its limits."""
        self.left += spent.amount
