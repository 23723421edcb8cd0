"""The whole of it as a finite machine: callers, the store, the vendor, crashes, a sweeper, a bill.

The store's part is `router.ledger.protocol` itself. Around it anything may happen at any time: an
answer of the store is lost; a transaction that was given up lands later; a caller dies; a client
leaves; the vendor bills late; holds expire early; the sweeper runs. All states that can be reached
are visited, breadth first, so that a counterexample is one of the shortest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from router.ledger.budget import Budget, Scope, place
from router.ledger.protocol import Account, Books, Protocol, Row
from router.ledger.record import (
    Ask,
    Bill,
    Capture,
    Dispatch,
    Hold,
    Lapse,
    Reconcile,
    Release,
    Reserve,
    Settle,
)

BOUND = 2
DUE = 1.0
ID = "r"
UNKNOWN, WORKING = -1, -2
"""To the vendor: it knows nothing of the call, or has yet to bill it."""


class Caller(NamedTuple):
    """One attempt. Two attempts of one call are two callers."""

    scopes: tuple[int, ...]
    """Which budgets concern it."""
    phase: str = "idle"
    """idle, held, fenced, sent, then what is left to say: know, undo, capture, careless; gone."""
    state: str = ""
    """Of its reservation; "": there is none."""
    cost: int = 0
    expired: bool = False
    vendor: int = UNKNOWN
    """What the vendor billed."""
    landing: tuple[str, ...] = ()
    """Moves that were given up by the caller and that may still land."""
    late: bool = False
    """It passed the fence after it had expired."""
    hedged: bool = False


class State(NamedTuple):
    callers: tuple[Caller, ...]
    accounts: tuple[tuple[int, int], ...]
    """Held and posted, of each budget."""
    frozen: bool = False
    broken: str = ""
    """A promise that was broken on the way here."""


class Model:
    """What can happen. The flags switch on what nobody should do, to see it fail."""

    zombies = True
    check_then_add = False
    no_fence = False
    hope = False
    """Send although the answer of the store was lost."""
    hedge_shares = False
    """Two hedged attempts under one reservation."""
    guess_unsent = False
    """Say that nothing was sent when nobody knows."""
    ignore_frozen = False

    def __init__(
        self,
        protocol: Protocol,
        *,
        caps: tuple[int, ...],
        scopes: tuple[tuple[int, ...], ...],
        bills: tuple[int, ...] = (0, 1, BOUND),
    ) -> None:
        self.protocol, self.caps, self.scopes, self.bills = protocol, caps, scopes, bills
        budgets = [Budget(Scope("team", str(n)), "total", cap) for n, cap in enumerate(caps)]
        self.places = [place(b, b.scope, 0.0) for b in budgets]
        self.keys = [p.key for p in self.places]

    @property
    def start(self) -> State:
        return State(tuple(Caller(s) for s in self.scopes), ((0, 0),) * len(self.caps))

    def move(self, state: State, at: int, what: str) -> tuple[State, Any]:
        """Run one move of the protocol for caller *at*; the state after it, and its result."""
        caller = state.callers[at]
        accounts = {
            key: Account(key, held, posted, place=p)
            for key, p, (held, posted) in zip(self.keys, self.places, state.accounts, strict=True)
        }
        places = tuple(self.places[n] for n in caller.scopes)
        rows = {}
        if caller.state:
            keys = tuple(p.key for p in places)
            rows[ID] = Row(ID, caller.state, BOUND, DUE, keys, cost=caller.cost)  # type: ignore[arg-type]
        books = Books(rows, accounts)
        now = DUE + 1 if caller.expired else DUE - 1
        result = self.protocol.run(books, self._asked(what, caller, places, now))
        row = books.rows.get(ID)
        if row is not None:
            caller = caller._replace(state=row.state, cost=row.cost or 0)
        passed = what in {"dispatch", "reserve dispatched"} and result
        if passed and caller.expired and what == "dispatch":
            caller = caller._replace(late=True)
        if passed and caller.state == "D":
            caller = caller._replace(expired=False)
        found = tuple((a.held, a.posted) for a in accounts.values())
        callers = (*state.callers[:at], caller, *state.callers[at + 1 :])
        return State(callers, found, state.frozen or bool(books.frozen), state.broken), result

    def _asked(self, what: str, caller: Caller, places: Any, now: float) -> Any:
        kind, _, rest = what.partition(" ")
        if kind == "reserve":
            return Reserve(Ask(ID, "", 0, "", BOUND, DUE, DUE), places, now, rest == "dispatched")
        if kind == "settle":
            return Settle(ID, int(rest), "", now)
        if kind == "reconcile":
            return Reconcile(Bill(ID, None if caller.vendor == UNKNOWN else caller.vendor), now)
        if kind == "release":
            return Release(ID, now, rest == "unsent")
        if kind == "dispatch":
            return Dispatch(ID, DUE, now)
        return {"capture": Capture, "lapse": Lapse}[kind](ID, now)

    def nexts(self, state: State) -> Iterator[tuple[str, State]]:
        """Every step from here."""
        for at, caller in enumerate(state.callers):
            for name, after in self._steps(state, at, caller):
                yield f"{at}: {name}", after

    def _steps(self, state: State, at: int, c: Caller) -> Iterator[tuple[str, State]]:
        phase = c.phase
        if phase == "idle":
            yield from self._reserving(state, at)
        elif phase == "checked":  # only with check_then_add
            books = tuple(
                (h + BOUND if n in c.scopes else h, p) for n, (h, p) in enumerate(state.accounts)
            )
            added = _with(state, at, phase="held", state="R")
            yield "add", added._replace(accounts=books)
        elif phase == "held":
            yield from self._dispatching(state, at)
        elif phase == "fenced":
            yield "send", _with(state, at, phase="sent", vendor=WORKING)
            yield "cannot connect", _with(state, at, phase="undo")
        elif phase == "sent":
            yield from self._sent(state, at, c)
        elif phase != "gone":
            what = {
                "know": f"settle {c.vendor}",
                "undo": "release unsent",
                "capture": "capture",
                "careless": "release",
            }[phase]
            after, _ = self.move(state, at, what)
            yield what, _with(after, at, phase="gone")
            yield f"{what}, answer lost", after
            if self.zombies and what not in c.landing:
                yield f"{what} hangs", _with(state, at, landing=(*c.landing, what))
        if phase not in {"idle", "gone"}:
            yield "dies", _with(state, at, phase="gone")
        yield from self._around(state, at, c)

    def _reserving(self, state: State, at: int) -> Iterator[tuple[str, State]]:
        if state.frozen and not self.ignore_frozen:
            yield "refused, frozen", _with(state, at, phase="gone")
            return
        if self.check_then_add:
            used = [h + p for h, p in state.accounts]
            if all(used[n] + BOUND <= self.caps[n] for n in state.callers[at].scopes):
                yield "check", _with(state, at, phase="checked")
            return
        for what, phase in (("reserve", "held"), ("reserve dispatched", "fenced")):
            after, result = self.move(state, at, what)
            granted = isinstance(result, Hold)
            if granted and any(c.state == "S" and c.cost > BOUND for c in state.callers):
                after = after._replace(broken="reserved on a price that was too low")
            yield what, _with(after, at, phase=phase if granted else "gone")
            if granted:
                yield f"{what}, answer lost", _with(after, at, phase="undo")
            if self.zombies:
                after = _with(state, at, phase="fenced" if self.hope else "undo", landing=(what,))
                yield f"{what} hangs", after

    def _dispatching(self, state: State, at: int) -> Iterator[tuple[str, State]]:
        if self.no_fence:
            yield "send", _with(state, at, phase="sent", vendor=WORKING)
            return
        after, passed = self.move(state, at, "dispatch")
        if not passed and not state.callers[at].expired:
            after = after._replace(broken="refused at the fence, in time")
        yield "dispatch", _with(after, at, phase="fenced" if passed else "gone")
        yield "dispatch, answer lost", _with(after, at, phase="undo")
        if self.zombies:
            yield "dispatch hangs", _with(state, at, phase="undo", landing=("dispatch",))
        after, _ = self.move(state, at, "release")
        yield "release", _with(after, at, phase="gone")

    def _sent(self, state: State, at: int, c: Caller) -> Iterator[tuple[str, State]]:
        if c.vendor != WORKING:
            yield "answer", _with(state, at, phase="know")
        yield "answer lost", _with(state, at, phase="capture")
        yield "client leaves", _with(state, at, phase="careless")
        if self.guess_unsent:
            yield "reset, taken for unsent", _with(state, at, phase="undo")
        if self.hedge_shares and not c.hedged:
            yield "hedge", _with(state, at, hedged=True)

    def _around(self, state: State, at: int, c: Caller) -> Iterator[tuple[str, State]]:
        if c.vendor == WORKING:
            for bill in self.bills:
                total = bill * (1 + c.hedged)
                yield f"vendor bills {total}", _with(state, at, vendor=total)
        for what in c.landing:
            after, _ = self.move(state, at, what)
            left = tuple(w for w in c.landing if w != what)
            yield f"{what} lands", _with(after, at, landing=left)
        if c.state in {"R", "D"}:
            if not c.expired:
                yield "time passes", _with(state, at, expired=True)
            yield "sweep", self.move(state, at, "lapse")[0]
        # A bill may be read at any time; what is captured by then is no longer going to be sent.
        if c.state and c.vendor != WORKING and (c.state, c.phase) != ("C", "fenced"):
            yield "reconcile", self.move(state, at, "reconcile")[0]

    def wrong(self, state: State) -> str:
        """Which promise does not hold here; "" when all do."""
        honest = max(self.bills) <= BOUND
        callers = (self._uncovered(c, honest=honest) for c in state.callers)
        return (
            state.broken
            or self._miscounted(state, honest=honest)
            or next((wrong for wrong in callers if wrong), "")
            or self._in_the_end(state)
        )

    def _miscounted(self, state: State, *, honest: bool) -> str:
        for n, (held, posted) in enumerate(state.accounts):
            mine = [c for c in state.callers if n in c.scopes]
            if honest and held + posted > self.caps[n]:
                return "over the limit"
            if held != sum(BOUND for c in mine if c.state in {"R", "D"}):
                return "held is not what is reserved"
            if posted != sum(c.cost for c in mine if c.state in {"S", "C"}):
                return "posted is not what is settled"
        return ""

    def _uncovered(self, c: Caller, *, honest: bool) -> str:
        if c.late:
            return "sent after it expired"
        if c.vendor != UNKNOWN and c.state in {"", "R"}:
            return "sent before the fence"
        may_bill = BOUND * (1 + c.hedged) if c.vendor == WORKING else c.vendor
        covered = {"R": BOUND, "D": BOUND, "C": c.cost, "S": c.cost}.get(c.state, 0)
        return "the vendor bills more than is held" if honest and may_bill > covered else ""

    def _in_the_end(self, state: State) -> str:
        """Once all is quiet, sweep and reconcile leave nothing held, and the books are the bill."""
        if any(
            c.phase not in {"idle", "gone"} or c.landing or c.vendor == WORKING for c in state[0]
        ):
            return ""
        for at in range(len(state.callers)):
            state = _with(state, at, expired=True)
            state = self.move(state, at, "lapse")[0]
            if state.callers[at].state == "C":
                state = self.move(state, at, "reconcile")[0]
        for n, (held, posted) in enumerate(state.accounts):
            if held:
                return "held for ever"
            if posted != sum(max(c.vendor, 0) for c in state.callers if n in c.scopes):
                return "the books are not the bill"
        return ""


def _with(of: State, at: int, /, **changes: Any) -> State:
    callers = list(of.callers)
    callers[at] = callers[at]._replace(**changes)
    return of._replace(callers=tuple(callers))


def _form(state: State) -> State:
    """Callers with the same budgets are alike: their order says nothing."""
    return state._replace(callers=tuple(sorted(state.callers)))


class Found(NamedTuple):
    states: int
    wrong: str
    path: list[str]


def check(model: Model, most: int = 2_000_000) -> Found:
    """Visit every state. The first that breaks a promise, with the way to it."""
    start = _form(model.start)
    came: dict[State, tuple[State, str] | None] = {start: None}
    edge = [start]
    while edge:
        fresh = []
        for state in edge:
            for step, after in model.nexts(state):
                form = _form(after)
                if form in came:
                    continue
                came[form] = (state, step)
                if wrong := model.wrong(form):
                    return Found(len(came), wrong, _path(came, form))
                fresh.append(form)
        edge = fresh
        assert len(came) < most, "the model is too large"
    return Found(len(came), "", [])


def _path(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps = []
    while (before := came[state]) is not None:
        state, step = before
        steps.append(step)
    return steps[::-1]
