"""Walk the plan: fail over until one backend answers, before the first byte is sent.

An extra attempt needs a permit of the retry allowance of the backend that it goes to. The last
error names every attempt and every candidate that was left, so that the caller sees why.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping

from router.core.call import Call, Outcome
from router.core.errors import (
    AttemptFailed,
    BadRequest,
    BudgetSpent,
    DeadlineExceeded,
    Forbidden,
    NoBackend,
    Rejected,
    RouterError,
    TooExpensive,
)
from router.core.gate import Clock, Release
from router.core.reply import Reply
from router.core.service import Service
from router.core.trail import Attempt, Trail
from router.core.verdict import CANCELLED, REJECTED, UNFIT, Verdict
from router.ledger.record import OverBudget
from router.plan import Backend, Plan, Route, Sight, look, plan


def dispatch(routes: Mapping[str, Route], now: Clock) -> Service:
    """The one service that knows that backends are many."""

    async def walk(call: Call) -> Reply:
        route = routes[call.route]
        started = now()
        sights = look(call, route, started)
        chosen = plan(call, route, sights, started)
        trail, over = Trail(chosen), list[OverBudget]()
        for backend in chosen.attempts:
            if trail.sent >= route.attempts or now() >= call.deadline:
                break
            if trail.cost and _dear(call, route, trail, backend):
                continue
            try:
                return await _attempt(call, backend, trail, now)
            except (AttemptFailed, Rejected) as exc:
                if not exc.verdict.try_next:
                    exc.trail = trail
                    raise
                if isinstance(exc, OverBudget):
                    over.append(exc)
            except BaseException as exc:
                exc.trail = trail  # type: ignore[attr-defined]
                raise
        if over and all(attempt.verdict is REJECTED for attempt in trail.attempts):
            raise _over(route, trail, over)
        raise _nothing_left(call, route, trail, sights, late=now() >= call.deadline)

    return walk


async def _attempt(call: Call, backend: Backend, trail: Trail, now: Clock) -> Reply:
    attempt, retries = Attempt(backend.name), backend.gates.retries
    release: Release | None = None
    first = not trail.sent
    trail.attempts.append(attempt)
    started = now()
    try:
        if first:
            retries.deposit()
        else:
            release = retries.acquire(call)
        reply = await backend.service(call)
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


def _dear(call: Call, route: Route, trail: Trail, backend: Backend) -> bool:
    """Whether *backend* could take the call past its limit, after what failed attempts cost."""
    limit = call.max_cost if call.max_cost is not None else route.promise.max_cost
    if limit is None or backend.price.free:
        return False
    free = {b.name for b in route.backends if b.price.free}
    spent = sum(a.cost for a in trail.attempts if a.backend not in free)
    chosen: Plan = trail.plan
    return any(spent + c.quote > limit for c in chosen.candidates if c.backend == backend.name)


def _over(route: Route, trail: Trail, over: list[OverBudget]) -> BudgetSpent:
    """Budgets let free backends serve alone, and none could."""
    said = "; ".join(f"{a.backend}: {a.detail}" for a in trail.attempts)
    error = BudgetSpent(f"Route {route.name!r}: {said} No free backend could serve it.")
    error.trail = trail
    return error


def _detail(exc: BaseException) -> str:
    return exc.detail if isinstance(exc, AttemptFailed) else str(exc)


def _nothing_left(
    call: Call, route: Route, trail: Trail, sights: tuple[Sight, ...], *, late: bool
) -> RouterError:
    chosen: Plan = trail.plan
    reasons = [f"{a.backend}: {a.verdict.name} ({a.detail})" for a in trail.attempts if a.verdict]
    tried = {a.backend for a in trail.attempts}
    if late:
        untried = "not tried, the deadline has passed"
    elif trail.sent >= route.attempts:
        untried = f"not tried, after {trail.sent} attempts"
    else:
        untried = "not tried, it could take the call past what it may cost"
    reasons += [
        f"{c.backend}: {c.why or untried}" for c in chosen.candidates if c.backend not in tried
    ]
    said = f"Route {route.name!r}: " + "; ".join(reasons)
    kinds = {c.left for c in chosen.candidates if c.left}
    if not chosen.attempts:
        error = _refused(kinds, said)
    elif late:
        error = DeadlineExceeded(f"{said}. The deadline has passed; allow more time.")
    elif all(a.verdict in {UNFIT, REJECTED} for a in trail.attempts) and any(
        a.verdict is UNFIT for a in trail.attempts
    ):
        error = BadRequest(f"{said}. Change the request, or add a backend that can serve it.")
    else:
        error = NoBackend(f"{said}. Try again in a moment.")
    if isinstance(error, NoBackend):
        # Of those that a gate keeps out, the first that comes back: the others change nothing.
        weighed = zip(chosen.candidates, sights, strict=True)
        waits = [s.retry_after for c, s in weighed if not c.left or c.left == s.blocked]
        error.retry_after = max(1.0, min(waits, default=1.0))
    error.trail = trail
    error.cost = trail.cost
    return error


def _refused(kinds: set[str], said: str) -> RouterError:
    """No candidate was taken: whose fault is it."""
    if kinds <= {"unfit", "context", "rule"} and kinds != {"rule"}:
        code = "context_length_exceeded" if "context" in kinds else "unsupported_parameter"
        advice = "Shorten the prompt" if "context" in kinds else "Leave the parameter out"
        return BadRequest(f"{said}. {advice}, or use another route.", code=code)
    if kinds <= {"rule"}:
        return Forbidden(f"{said}. The rules leave no backend for this call.")
    if kinds <= {"unfit", "context", "rule", "cost"}:
        return TooExpensive(f"{said}. Raise max_cost_usd, or ask for fewer tokens.")
    if "deadline" in kinds and kinds <= {"unfit", "context", "rule", "cost", "deadline"}:
        return DeadlineExceeded(f"{said}. No backend can make the deadline; allow more time.")
    return NoBackend(f"{said}. Try again in a moment.")
