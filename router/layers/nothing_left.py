"""The error of a call that no backend served: every attempt, every candidate, and what to do."""

from __future__ import annotations

from router.core.errors import (
    BadRequest,
    BudgetSpent,
    DeadlineExceeded,
    Forbidden,
    NoBackend,
    RouterError,
    TooExpensive,
)
from router.core.trail import Attempt
from router.core.verdict import REJECTED, UNFIT

from .walk import Walk


def nothing_left(walk: Walk) -> RouterError:
    """Why, in the words of those who were asked or left."""
    if walk.over and all(a.verdict is REJECTED for a in walk.trail.attempts):
        return _over(walk)
    chosen, attempts, late = walk.plan, walk.trail.attempts, walk.late
    said = _said(walk, late=late)
    kinds = {c.left for c in chosen.candidates if c.left}
    if not chosen.attempts:
        error = _refused(kinds, said)
    elif late:
        error = DeadlineExceeded(f"{said}. The deadline has passed; allow more time.")
    elif _wrong(attempts):
        error = BadRequest(f"{said}. Change the request, or add a backend that can serve it.")
    else:
        error = NoBackend(f"{said}. Try again in a moment.")
    if isinstance(error, NoBackend):
        # Of those that a gate keeps out, the first that comes back: the others change nothing.
        weighed = zip(chosen.candidates, walk.sights, walk.route.backends, strict=True)
        waits = [
            max(s.retry_after, b.gates.pause.retry_after, b.gates.breaker.retry_after)
            for c, s, b in weighed
            if not c.left or c.left == s.blocked
        ]
        error.retry_after = max(1.0, min(waits, default=1.0))
    error.cost = walk.trail.cost
    return error


def _said(walk: Walk, *, late: bool) -> str:
    trail, route = walk.trail, walk.route
    reasons = [f"{a.backend}: {a.verdict.name} ({a.detail})" for a in trail.attempts if a.verdict]
    tried = {a.backend for a in trail.attempts}
    if late:
        untried = "not tried, the deadline has passed"
    elif trail.sent >= route.attempts:
        untried = f"not tried, after {trail.sent} attempts"
    else:
        untried = "not tried, it could take the call past what it may cost"
    reasons += [
        f"{c.backend}: {c.why or untried}" for c in walk.plan.candidates if c.backend not in tried
    ]
    return f"Route {route.name!r}: " + "; ".join(reasons)


def _wrong(attempts: list[Attempt]) -> bool:
    """Whether those who were asked found the request unfit, and nobody failed."""
    ends = {a.verdict for a in attempts}
    return UNFIT in ends and ends <= {UNFIT, REJECTED}


def _over(walk: Walk) -> BudgetSpent:
    """Budgets let free backends serve alone, and none could."""
    said = "; ".join(f"{a.backend}: {a.detail}" for a in walk.trail.attempts)
    return BudgetSpent(f"Route {walk.route.name!r}: {said} No free backend could serve it.")


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
