"""The protocol holds in every state that can be reached; without any one of its guards it does not.

Model check, breadth first: see model.py. A mutation takes one guard away, from the protocol that
the store runs or from those who call it, and must be caught by the promise that the guard keeps.
"""

from __future__ import annotations

import pytest

from router.ledger.protocol import Account, Books, Protocol, Result, Row, _end
from router.ledger.record import Capture, Hold, Lapse, Reconcile, Reserve, Settle

from .model import BOUND, Model, check

TWO = {"caps": (3, 2), "scopes": ((0, 1), (0,))}
OVERRUN = {"caps": (6,), "scopes": ((0,), (0,)), "bills": (1, BOUND + 1)}


def test_two_callers_and_anything_that_can_go_wrong():
    """Two budgets, one of them for one caller only; given-up transactions land late."""
    found = check(Model(Protocol(), **TWO))
    assert not found.wrong, found.path
    assert found.states > 20_000


def test_three_callers_without_late_landings():
    model = type("Prompt", (Model,), {"zombies": False})
    found = check(model(Protocol(), caps=(4, 3), scopes=((0, 1), (0, 1), (0,)), bills=(1,)))
    assert not found.wrong, found.path
    assert found.states > 20_000


def test_costs_above_their_bounds_freeze_the_price():
    """Nothing is reserved on a price after it proved too low."""

    found = check(type("Quiet", (Model,), {"zombies": False})(Protocol(), **OVERRUN))
    assert not found.wrong, found.path


class Overfull(Protocol):
    def fits(self, account: Account, bound: int, limit: int) -> bool:
        return True


class PostedOnly(Protocol):
    def fits(self, account: Account, bound: int, limit: int) -> bool:
        return account.posted + bound <= limit


class SomeNotAll(Protocol):
    """Leaves what it held in the first budget when the second one refuses."""

    def reserve(self, books: Books, move: Reserve) -> Result:
        result = super().reserve(books, move)
        if not isinstance(result, Hold):
            for p in move.places:
                if self.fits(books.accounts[p.key], move.ask.bound, p.budget.limit):
                    books.accounts[p.key].held += move.ask.bound
        return result


class OpenFence(Protocol):
    def open(self, row: Row) -> bool:
        return True


class LateFence(Protocol):
    def in_time(self, row: Row, now: float) -> bool:
        return True


class SettlesAgain(Protocol):
    def counts(self, row: Row) -> bool:
        return row.state in {"D", "C", "S"}


class CapturedForEver(Protocol):
    def counts(self, row: Row) -> bool:
        return row.state == "D"


class RefundsSent(Protocol):
    """A caller that gives up lets go what may have been sent."""

    def recalled(self, row: Row, *, unsent: bool) -> bool:
        return row.state in {"R", "D", "C"}


class SweepsEarly(Protocol):
    def lapsed(self, row: Row, now: float) -> bool:
        return True


class SweepRefunds(Protocol):
    """What was dispatched is let go when it expires."""

    def lapse(self, books: Books, row: Row, move: Lapse) -> bool:
        if row.state in {"R", "D"} and self.lapsed(row, move.now):
            return self._refund(books, row, move.now)
        return False


class SweepForgets(Protocol):
    def lapse(self, books: Books, row: Row, move: Lapse) -> bool:
        return row.state == "R" and super().lapse(books, row, move)


class CaptureKeepsHold(Protocol):
    def capture(self, books: Books, row: Row, move: Capture | Lapse) -> bool:
        if row.state != "D":
            return False
        for key in row.budgets:
            books.accounts[key].posted += row.bound
        _end(books, row, "C", row.bound, move.now)
        return True


class ReconcilesOpen(Protocol):
    """Believes a bill that says nothing of a call which is still going to be sent."""

    def reconcile(self, books: Books, row: Row, move: Reconcile) -> bool:
        if row.state == "D" and move.bill.cost is None:
            return self._refund(books, row, move.now)
        return super().reconcile(books, row, move)


class NeverFreezes(Protocol):
    def settle(self, books: Books, row: Row, move: Settle) -> bool:
        settled = super().settle(books, row, move)
        books.frozen.clear()
        return settled


@pytest.mark.parametrize(
    ("protocol", "promise"),
    [
        (Overfull, "over the limit"),
        (PostedOnly, "over the limit"),
        (SomeNotAll, "held is not what is reserved"),
        (OpenFence, "held is not what is reserved"),
        (LateFence, "sent after it expired"),
        (SettlesAgain, "held is not what is reserved"),
        (CapturedForEver, "the books are not the bill"),
        (RefundsSent, "the vendor bills more than is held"),
        (SweepsEarly, "refused at the fence, in time"),
        (SweepRefunds, "the books are not the bill"),
        (SweepForgets, "held for ever"),
        (CaptureKeepsHold, "held for ever"),
        (ReconcilesOpen, "the vendor bills more than is held"),
    ],
)
def test_without_a_guard_of_the_protocol_there_is_a_counterexample(
    protocol: type[Protocol], promise: str
):
    found = check(Model(protocol(), **TWO))
    assert found.wrong == promise, found


@pytest.mark.parametrize(
    ("flag", "promise"),
    [
        ("check_then_add", "over the limit"),
        ("no_fence", "sent before the fence"),
        ("hope", "sent before the fence"),
        ("hedge_shares", "the vendor bills more than is held"),
        ("guess_unsent", "the vendor bills more than is held"),
    ],
)
def test_without_a_guard_of_the_callers_there_is_a_counterexample(flag: str, promise: str):
    found = check(type("Careless", (Model,), {flag: True})(Protocol(), **TWO))
    assert found.wrong == promise, found


@pytest.mark.parametrize(
    ("protocol", "heeded"), [(NeverFreezes, True), (Protocol, False)], ids=["unwritten", "unheeded"]
)
def test_without_freezing_a_low_price_is_used_again(protocol: type[Protocol], heeded: bool):
    model = type("Quiet", (Model,), {"zombies": False, "ignore_frozen": not heeded})
    assert check(model(protocol(), **OVERRUN)).wrong == "reserved on a price that was too low"
