"""The real store against a reference: the same moves, in batches, and the same answers.

The reference keeps no sums. What a budget has used is added up anew each time from the list of
all attempts, by the meaning of its window: whose money, made when, held or posted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.ledger.budget import BUCKETS, Budget, Budgets, Scope, span
from router.ledger.record import (
    Ask,
    Bill,
    Capture,
    Dispatch,
    Hold,
    OverBudget,
    Reconcile,
    Release,
    Reserve,
    Settle,
)
from router.ledger.store import Store

SCOPES = [Scope("global"), Scope("team", "a"), Scope("team", "b"), Scope("key", "k")]
WHOSE = st.lists(st.sampled_from(SCOPES), unique=True, max_size=4)
BUDGETS = [
    Budget(Scope("global"), "day", 60),
    Budget(Scope("global"), "2h", 45),
    Budget(Scope("team", "a"), "month", 40, zone="Europe/Berlin"),
    Budget(Scope("team", "*"), "total", 200),
    Budget(Scope("key", "k"), "week", 20, at_limit="warn"),
]
START = datetime(2026, 10, 31, 22, 0, 30, tzinfo=UTC).timestamp()
"""A Saturday, an hour before November begins in Berlin, two before it does in UTC."""


@dataclass
class Attempt:
    id: str
    state: str
    bound: int
    made: float
    due: float
    later: float
    scopes: tuple[Scope, ...]
    cost: int = 0
    price: str = ""

    @property
    def amount(self) -> int:
        return {"R": self.bound, "D": self.bound, "X": 0}.get(self.state, self.cost)


@dataclass
class Reference:
    attempts: dict[str, Attempt] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)

    def used(self, budget: Budget, scope: Scope, now: float) -> int:
        return sum(
            a.amount
            for a in self.attempts.values()
            if scope in a.scopes and _same_window(budget, a.made, now)
        )

    def fits(self, scopes: tuple[Scope, ...], bound: int, now: float) -> bool:
        return all(
            self.used(budget, scope, now) + bound <= budget.limit
            for scope in scopes
            for budget in BUDGETS
            if budget.at_limit != "warn"
            and budget.scope.kind == scope.kind
            and budget.scope.name in {scope.name, "*"}
        )

    def run(self, move: Any) -> Any:
        if isinstance(move, Reserve):
            return self._reserve(move)
        id_ = move.bill.id if isinstance(move, Reconcile) else move.id
        a = self.attempts.get(id_)
        if a is None:
            return False
        before = a.state
        if isinstance(move, Dispatch) and a.state == "R" and move.now < a.due:
            a.state, a.due = "D", move.due
        elif isinstance(move, Settle) and a.state in "DC":
            self._settle(a, move.cost)
        elif isinstance(move, Capture) and a.state == "D":
            a.state, a.cost = "C", a.bound
        elif isinstance(move, Release) and (a.state == "R" or (move.unsent and a.state in "DC")):
            a.state = "X"
        elif isinstance(move, Reconcile) and a.state == "C":
            if move.bill.cost is None:
                a.state = "X"
            else:
                self._settle(a, move.bill.cost)
        return a.state != before

    def _reserve(self, move: Reserve) -> bool:
        ask = move.ask
        if not self.fits(ask.scopes, ask.bound, move.now):
            return False
        state, due = ("D", ask.due) if move.dispatched else ("R", ask.expires)
        self.attempts[ask.id] = Attempt(
            ask.id, state, ask.bound, move.now, due, ask.due, ask.scopes, price=ask.backend
        )
        return True

    def _settle(self, a: Attempt, cost: int) -> None:
        a.state, a.cost = "S", cost
        if cost > a.bound:
            self.frozen.add(a.price)

    def sweep(self, now: float) -> int:
        swept = [a for a in self.attempts.values() if a.state in "RD" and a.due <= now]
        for a in swept:
            a.state, a.cost = ("X", 0) if a.state == "R" else ("C", a.bound)
        return len(swept)


def _same_window(budget: Budget, made: float, now: float) -> bool:
    length = span(budget.window)
    if length:
        bucket = length // BUCKETS
        return made // bucket * bucket + bucket + length > now // bucket * bucket
    if budget.window == "total":
        return True
    one, other = (_local(budget.zone, moment) for moment in (made, now))
    if budget.window == "day":
        return one.date() == other.date()
    if budget.window == "week":
        return one.isocalendar()[:2] == other.isocalendar()[:2]
    return (one.year, one.month) == (other.year, other.month)


def _local(zone: str, moment: float) -> datetime:
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(moment, UTC if zone == "UTC" else ZoneInfo(zone))


class LedgerMachine(RuleBasedStateMachine):
    """Subclasses say which store: an empty one at each `fresh()`."""

    def __init__(self) -> None:
        super().__init__()
        self.reference = Reference()
        self.now = START
        self.batch: list[Any] = []
        self.count = 0
        self.store: Store

    def fresh(self) -> Store:
        raise NotImplementedError

    #: fresh() is called before every example.
    budgets: ClassVar[Budgets]

    @initialize()
    def begin(self) -> None:
        self.store = self.fresh()
        type(self).budgets = Budgets(BUDGETS)

    @rule(
        bound=st.integers(0, 25),
        scopes=WHOSE,
        dispatched=st.booleans(),
        backend=st.sampled_from(["x", "y"]),
    )
    def make(self, bound: int, scopes: list[Scope], dispatched: bool, backend: str) -> None:
        self.reserve(scopes, bound, dispatched=dispatched, backend=backend)

    def reserve(self, scopes: list[Scope], bound: int, *, dispatched: bool, backend: str) -> None:
        self.count += 1
        now, chosen = self.now, tuple(scopes)
        ask = Ask(f"r{self.count}", "c", 1, backend, bound, now + 5, now + 60, chosen)
        places = self.budgets.places(chosen, now)
        self.batch.append(Reserve(ask, places, now, dispatched))

    @rule(bounds=st.lists(st.integers(10, 25), min_size=1, max_size=4), scopes=WHOSE)
    def spend(self, bounds: list[int], scopes: list[Scope]) -> None:
        """Some that go well: most do, and only they fill a window."""
        for bound in bounds:
            self.reserve(scopes, bound, dispatched=True, backend="x")
            self.commit()
            self.batch.append(Settle(f"r{self.count}", bound, "", self.now))
        self.commit()

    @rule(data=st.data(), cost=st.none() | st.integers(0, 30), yes=st.booleans())
    def touch(self, data: st.DataObject, cost: int | None, yes: bool) -> None:
        """Anything, to any attempt."""
        known = [m.ask.id for m in self.batch if isinstance(m, Reserve)]
        id_ = data.draw(st.sampled_from(["nobody", *self.reference.attempts, *known]), "attempt")
        moves = [
            Dispatch(id_, self.now + 60, self.now),
            Settle(id_, cost or 0, "", self.now),
            Capture(id_, self.now),
            Release(id_, self.now, yes),
            Reconcile(Bill(id_, cost), self.now),
        ]
        self.batch.append(data.draw(st.sampled_from(moves), "move"))

    @precondition(lambda self: self.batch)
    @rule()
    def commit(self) -> None:
        """All that was queued, as one transaction."""
        batch, self.batch = self.batch, []
        results, _ = self.store.run(batch)
        for move, result in zip(batch, results, strict=True):
            expected = self.reference.run(move)
            if isinstance(move, Reserve):
                assert isinstance(result, Hold if expected else OverBudget), (move, result)
            else:
                assert result is expected, (move, result)

    @rule(seconds=st.sampled_from([1.0, 70.0, 360.0, 3_600.0, 6_840.0, 7_200.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.commit_all()
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.commit_all()
        assert self.store.sweep(self.now)[0] == self.reference.sweep(self.now)

    def commit_all(self) -> None:
        if self.batch:
            self.commit()

    @invariant()
    def books_are_the_reference(self) -> None:
        if self.batch or not hasattr(self, "store"):
            return
        rows, budgets, frozen = self.read()
        expected = {a.id: (a.state, a.amount) for a in self.reference.attempts.values()}
        found = {id_: (state, bound if state in "RD" else cost) for id_, state, bound, cost in rows}
        assert found == expected
        assert frozen == self.reference.frozen
        held = sum(a.bound for a in self.reference.attempts.values() if a.state in "RD")
        if not held:
            assert not any(budget[1] for budget in budgets), "held for ever"

    def read(self) -> tuple[list[Any], list[Any], set[str]]:
        ask = self.store.driver.alone
        from router.ledger.statements import Statement

        rows = ask(Statement("SELECT id, state, bound, cost FROM reservation", 0), ())[0]
        budgets = ask(Statement("SELECT key, held, posted FROM budget", 0), ())[0]
        return rows, budgets, set(self.store.frozen())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.commit_all()
            self.books_are_the_reference()
            self.store.driver.close()
