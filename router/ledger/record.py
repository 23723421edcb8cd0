"""What is asked of the ledger, what it answers, and what it tells.

Money is integer pico-dollars, times are unix seconds, units are JSON text of what was used.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from router.core.errors import Rejected
from router.core.money import usd

from .budget import AtLimit, Place, Scope


class Ask(msgspec.Struct, frozen=True):
    """One attempt that may cost up to *bound*. Every attempt has an *id* of its own."""

    id: str
    call: str
    attempt: int
    backend: str
    bound: int
    expires: float
    """From then on the hold is let go, unless bytes may have been sent."""
    due: float
    """No call is still going then: what is not settled is taken at its bound."""
    scopes: tuple[Scope, ...] = ()
    units: str = ""
    vendor: str = ""
    model: str = ""
    price: str = ""
    """The entry that the bound was made with, frozen when it proves too low; "": the backend."""


class Hold(msgspec.Struct, frozen=True):
    """Money that is held for one attempt."""

    ask: Ask
    dispatched: bool = False
    offline: bool = False
    """Granted from the allowance while the store was away."""


class Bill(msgspec.Struct, frozen=True):
    """What a vendor's usage record says of one attempt; *cost* None: there was no such call."""

    id: str
    cost: int | None
    units: str = ""


EventKind = Literal["budget", "bound", "stray", "dropped", "overrun"]


class Event(msgspec.Struct, frozen=True):
    """Something that a person should know.

    budget    a share of a limit is spent: *share* is how much, *amount* what is spent
    bound     a cost was above its bound: the price entry is frozen
    stray     an attempt was settled that was never dispatched, or after it was let go
    dropped   settlements were given up while the store was away: the sweep takes the bounds
    overrun   an allowance was used, and what was spent of it is above the limit
    """

    kind: EventKind
    text: str
    scope: Scope | None = None
    window: str = ""
    share: float = 0.0
    amount: int = 0
    price: str = ""
    reservation: str = ""


class OverBudget(Rejected):
    """A budget has no room for this attempt; nothing is held in any budget."""

    status = 402
    code = "budget_exceeded"

    def __init__(self, place: Place, used: int, bound: int, resets_at: float | None) -> None:
        budget = place.budget
        self.scope, self.window, self.limit = place.scope, budget.window, budget.limit
        self.at_limit: AtLimit = budget.at_limit
        self.used, self.bound, self.resets_at = used, bound, resets_at
        super().__init__(
            f"The {self.window} budget of {self.scope} is {usd(self.limit)} USD; "
            f"{usd(used)} USD are spent or held, and this attempt could cost {usd(bound)} USD."
        )


class StoreDown(Rejected):
    """The store of money cannot be asked now; nothing is held, nothing may be sent."""

    code = "ledger_unreachable"


class PriceFrozen(Rejected):
    """The price entry proved too low once: its bounds cannot be trusted."""

    code = "price_frozen"


# What the writer does to the rows. The protocol's table of moves stands in protocol.py.


class Reserve(msgspec.Struct):
    ask: Ask
    places: tuple[Place, ...]
    now: float
    dispatched: bool = False
    forced: bool = False
    """It was spent already, while the store was away: written whatever the limit."""


class Dispatch(msgspec.Struct):
    id: str
    due: float
    now: float


class Settle(msgspec.Struct):
    id: str
    cost: int
    units: str
    now: float


class Capture(msgspec.Struct):
    id: str
    now: float


class Release(msgspec.Struct):
    id: str
    now: float
    unsent: bool = False
    """The caller knows that nothing was sent, though it might have been."""


class Lapse(msgspec.Struct):
    id: str
    now: float


class Reconcile(msgspec.Struct):
    bill: Bill
    now: float


class Sweep(msgspec.Struct):
    now: float


Move = Reserve | Dispatch | Settle | Capture | Release | Lapse | Reconcile
