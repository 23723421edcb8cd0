"""One call's way along its plan: which backend is next, and one attempt at it.

    next       the plan's order, while attempts, time and money are left
    answer by  an attempt is left early enough for the next backend to answer too:
               deadline - min(half of what is left, max(three tenths, twice what the next takes)),
               not before this one should have answered, if that leaves the next a seventh of it
    in a hurry an attempt that begins when half of the call's time is gone has not the time that
               others have: running out of it says nothing of the backend (LATE, not LOST)
    again      a backend that failed without an answer that may be billed may be asked once more

Predicted seconds are those of the plan. An extra attempt needs a permit of the retry allowance of
the backend that it goes to.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Literal

from msgspec.structs import replace

from router.core.call import Call, Outcome
from router.core.errors import AttemptFailed, Rejected, RouterError
from router.core.gate import Clock, Release
from router.core.reply import Reply
from router.core.trail import Attempt, Trail
from router.core.verdict import CANCELLED, FAULT, LATE, LOST, THROTTLED, Verdict
from router.ledger.record import OverBudget
from router.plan import Sight, look, plan
from router.route import Backend, Route

LEAST_SPARE, MOST_SPARE, UNKNOWN_SPARE, LAST_SPARE = 0.3, 0.5, 0.4, 0.15
"""Shares of the time left that are kept for the next backend; the last one in any case."""
TICK = 0.001
"""Timers of the server's loop fall on whole milliseconds: a wait may end that much too early."""
Kind = Literal["first", "failover", "retry", "hedge", "resume"]


class Walk:
    """Where a call has been and where it may still go."""

    def __init__(self, call: Call, route: Route, now: Clock) -> None:
        self.call, self.route, self._now = call, route, now
        started = now()
        self.sights: tuple[Sight, ...] = look(call, route, started)
        self.plan = plan(call, route, self.sights, started)
        self.left = list(self.plan.attempts)
        """Backends not yet tried, in order."""
        self.trail = Trail(self.plan)
        self.over: list[OverBudget] = []
        """Budgets that had no room."""

    @property
    def late(self) -> bool:
        return self.ends_within(TICK)

    def ends_within(self, seconds: float) -> bool:
        """Whether the deadline comes before that."""
        return self._now() + seconds >= self.call.deadline

    def next(self) -> Backend | None:
        """The next backend that may be tried, taken off the list."""
        while self.left and not self.spent:
            backend = self.left.pop(0)
            if not self.dear(backend):
                return backend
        return None

    @property
    def spent(self) -> bool:
        """No attempt or no time is left."""
        return self.trail.sent >= self.route.attempts or self.late

    def dear(self, backend: Backend) -> bool:
        """Whether *backend* could take the call past its limit, beside what others cost so far."""
        call, route, attempts = self.call, self.route, self.trail.attempts
        limit = call.max_cost if call.max_cost is not None else route.promise.max_cost
        if limit is None or backend.price.free or not attempts:
            return False
        free = {b.name for b in route.backends if b.price.free}
        # One that still runs may cost its quote.
        spent = sum(
            a.cost if a.verdict is not None else self._quote(a.backend)
            for a in attempts
            if a.backend not in free
        )
        return bool(spent) and spent + self._quote(backend.name) > limit

    def _quote(self, backend: str) -> int:
        return next((c.quote for c in self.plan.candidates if c.backend == backend), 0)

    def predicted(self, backend: Backend) -> float:
        """Seconds that *backend* should take at the quantile of the promise; 0 when unknown."""
        for candidate in self.plan.candidates:
            if candidate.backend == backend.name:
                return max(candidate.seconds, candidate.promised)
        return 0.0

    def repeatable(self) -> Backend | None:
        """The first that failed so that asking it again risks no second bill."""
        last: dict[str, Verdict | None] = {a.backend: a.verdict for a in self.trail.attempts}
        for backend in self.plan.attempts:
            verdict = last.get(backend.name)
            safe = verdict is FAULT or verdict is THROTTLED
            if not (safe or (verdict is LOST and backend.price.free)) or self.dear(backend):
                continue
            if backend.gates.breaker.ready() and backend.gates.health.ready():
                return backend
        return None

    async def attempt(
        self, backend: Backend, kind: Kind = "first", call: Call | None = None
    ) -> Reply | None:
        """Its reply; None when another may do better. Raises what ends the whole call."""
        try:
            return await self._ask(backend, kind, call or self.call)
        except (AttemptFailed, Rejected) as exc:
            if not exc.verdict.try_next:
                raise
            if isinstance(exc, OverBudget):
                self.over.append(exc)
            return None

    async def _ask(self, backend: Backend, kind: Kind, call: Call) -> Reply:
        now, trail, retries = self._now, self.trail, backend.gates.retries
        attempt = Attempt(backend.name, kind)
        release: Release | None = None
        first, fresh = not trail.sent, not trail.attempts
        trail.attempts.append(attempt)
        attempt.began = started = now()
        if not first and started - call.arrived > (call.deadline - call.arrived) / 2:
            call = replace(call, hurried=True)
        if self.left and trail.sent < self.route.attempts:
            call = replace(call, answer_by=self._answer_by(backend, started))
        try:
            if fresh:
                for one in self.plan.attempts:
                    one.gates.retries.deposit()
            if not first:
                release = retries.acquire(call)
            reply = await self._heard(backend, call)
        except BaseException as exc:
            attempt.seconds = now() - started
            attempt.verdict = exc.verdict if isinstance(exc, RouterError) else CANCELLED
            attempt.detail = "" if isinstance(exc, CancelledError) else _detail(exc)
            attempt.cost = getattr(exc, "cost", 0)
            if release:
                release(Outcome(attempt.verdict, attempt.seconds))
            raise

        def closed(verdict: Verdict) -> None:
            attempt.seconds, attempt.verdict = now() - started, verdict
            attempt.cost, attempt.first = reply.cost or 0, reply.first
            if release:
                release(Outcome(verdict, attempt.seconds))

        attempt.cost = reply.cost or 0
        reply.trail = trail
        reply.on_close(closed)
        return reply

    async def _heard(self, backend: Backend, call: Call) -> Reply:
        """Its reply; what waits for an answer, or a first event, can tell that it is silent."""
        silence = backend.gates.silence
        # Where nothing is known of its times, three tenths of the call's own are long.
        usual = self.predicted(backend) or (call.deadline - self._now()) / 10
        number = silence.ask(usual)
        answered = False
        try:
            reply = await backend.service(call)
            answered = True
        except AttemptFailed as exc:
            answered = exc.verdict is not LOST and exc.verdict is not LATE
            raise
        finally:
            silence.heard(number, answered=answered)
        return reply

    def _answer_by(self, backend: Backend, now: float) -> float:
        deadline = self.call.deadline
        seconds, other = deadline - now, self.predicted(self.left[0])
        spare = seconds * UNKNOWN_SPARE
        if other:
            spare = min(seconds * MOST_SPARE, max(seconds * LEAST_SPARE, 2 * other))
        spare = min(spare, seconds - self.predicted(backend))
        return deadline - max(spare, seconds * LAST_SPARE)


def _detail(exc: BaseException) -> str:
    return exc.detail if isinstance(exc, AttemptFailed) else str(exc)
