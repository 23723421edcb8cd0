"""One backend's attempts on the ledger: held before the send, settled or captured after it.

A hold passes the fence in the transaction that makes it (docs/ledger.md says why that is safe), so
bytes may be sent once it is there. What an attempt cost is settled when its outcome is known;
where it is not (lost, cut, no usage), the bound is captured until the vendor's bill shows more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from typing import Literal

import msgspec

from router.core.call import Call, Usage
from router.core.errors import BooksClosed, BudgetSpent
from router.core.verdict import Verdict
from router.ledger.ledger import Ledger
from router.ledger.record import Ask, Hold, OverBudget, StoreDown

GRACE = 60.0
"""Seconds after a call's deadline at which it is surely over: its settlement is written by then."""
_encode = msgspec.json.Encoder().encode
# A client chooses its call's id, so reservations have ids of their own: process, and number.
_process = os.urandom(8).hex()
_numbers = count(1)


class Booking(msgspec.Struct, frozen=True):
    """How one backend's attempts are booked."""

    ledger: Callable[[], Ledger | None]
    """None while no money is kept."""
    backend: str
    vendor: str
    model: str
    unreachable: Literal["refuse", "local_only"] = "refuse"
    wall: Callable[[], float] = time.time

    async def hold(self, call: Call, bound: int, left: float) -> Hold | None:
        """Hold *bound* pico-dollars in every budget of the attempt, *left* seconds before its end.

        Raises BudgetSpent, BooksClosed; OverBudget, StoreDown, PriceFrozen where another backend
        may serve.
        """
        ledger = self.ledger()
        if ledger is None:
            return None
        key, now = call.key, self.wall()
        over = now + max(left, 0.0) + GRACE
        ask = Ask(
            id=f"{_process}-{next(_numbers):x}",
            call=call.id,
            attempt=0,
            backend=self.backend,
            bound=bound,
            expires=over,
            due=over,
            scopes=ledger.scopes(
                key=key.name if key else "",
                team=key.team if key else "",
                route=call.route,
                backend=self.backend,
            ),
            vendor=self.vendor,
            model=self.model,
        )
        try:
            return await ledger.reserve(ask, dispatched=True)
        except OverBudget as exc:
            if exc.at_limit != "refuse":
                raise
            wait = None if exc.resets_at is None else max(1.0, exc.resets_at - now)
            raise BudgetSpent(
                f"{exc} Raise the budget, ask for less, or wait for its next window.",
                retry_after=wait,
            ) from exc
        except StoreDown as exc:
            if self.unreachable != "refuse":
                raise
            raise BooksClosed(f"{exc} Paid calls are refused until it is back.") from exc

    def close(self, hold: Hold, verdict: Verdict, cost: int, usage: Usage | None) -> None:
        """The attempt is over. Never waits, never raises."""
        ledger = self.ledger()
        if ledger is None:
            return
        if usage is not None or verdict.charge == "nothing":
            ledger.settle(hold, cost, "" if usage is None else _units(usage))
        else:
            ledger.capture(hold)


def _units(usage: Usage) -> str:
    """What was used, as JSON without zeros."""
    used = msgspec.structs.asdict(usage)
    return _encode({name: value for name, value in used.items() if value}).decode()
