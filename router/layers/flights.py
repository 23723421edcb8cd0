"""Equal calls that are under way together: one asks, the others wait for its answer.

    board(name)   the first leads, the others wait
    landed(x)     the leader has an answer: all who wait get it; None: it cannot be shared, so each
                  asks for itself
    failed(..)    the leader has none, or its client left: the one that waited longest leads now

When two leaders have found that no backend is left, those who still wait are told so: each of them
asking once more, one after the other or all together, would only make it worse. What failed for
reasons of its own (its money, its deadline, its client) does not count among the two.

Source: golang.org/x/sync/singleflight, where a leader's failure is everybody's.
"""

from __future__ import annotations

from asyncio import Future, get_running_loop, timeout_at
from collections import deque
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
LEADERS = 2
Turn = Literal["lead", "alone", "over"]


class Flight(Generic[T]):
    """One answer that several wait for."""

    def __init__(self, flights: Flights[T], name: bytes) -> None:
        self._flights, self._name = flights, name
        self._waiting: deque[Future[T | Turn]] = deque()
        self._outages = 0

    async def wait(self, until: float) -> T | Turn:
        """The answer, or what to do: "lead", ask "alone", or it is "over". Raises TimeoutError."""
        turn: Future[T | Turn] = get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with timeout_at(until):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result() == "lead":
                self.failed(outage=False)  # it was this one's turn, and it goes
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def landed(self, answer: T | None) -> None:
        self._end("alone" if answer is None else answer)

    def failed(self, *, outage: bool) -> None:
        self._outages += outage
        if self._outages >= LEADERS:
            self._end("over")
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result("lead")
                return
        self._end("alone")

    def _end(self, told: T | Turn) -> None:
        self._flights.close(self._name)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(told)


class Flights(Generic[T]):
    """The flights of now, by name."""

    def __init__(self) -> None:
        self._flying: dict[bytes, Flight[T]] = {}

    def board(self, name: bytes) -> tuple[Flight[T], bool]:
        """The flight of this name, and whether the caller leads it."""
        flight = self._flying.get(name)
        if flight is not None:
            return flight, False
        flight = self._flying[name] = Flight(self, name)
        return flight, True

    def close(self, name: bytes) -> None:
        self._flying.pop(name, None)

    def __len__(self) -> int:
        return len(self._flying)
