"""The last decisions, whole, and what of them fits into headers.

A record holds no prompt and no answer. It says who asked for what, every candidate with its
expected cost and predicted seconds and why it was taken or left, each attempt and how it ended,
what it cost and what the baseline would have cost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from router.core.ending import Ending
from router.core.money import PICO, usd
from router.core.trail import Trail
from router.core.verdict import OK
from router.plan import Candidate, Plan, Route


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """One candidate: money in USD as exact decimals, times in seconds."""
    return {
        "backend": candidate.backend,
        "taken": not candidate.left,
        "left_by": candidate.left or None,
        "why": candidate.why or ("would break the promise" if candidate.late else "fits"),
        "expected_cost_usd": usd(candidate.cost),
        "quote_usd": usd(candidate.quote),
        "predicted_seconds": round(candidate.seconds, 4),
        "promised_quantile_seconds": round(candidate.promised, 4),
        "keeps_promise": not candidate.late,
    }


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan: the order of attempts and every candidate's record."""
    return {
        "objective": plan.objective,
        "rules_that_held": list(plan.rules),
        "order": [b.name for b in plan.attempts],
        "candidates": [candidate_json(c) for c in plan.candidates],
    }


class Decision(msgspec.Struct, frozen=True):
    """One ended call, ready to be shown."""

    ending: Ending
    saved: int | None

    def json(self) -> dict[str, Any]:
        ending, trail = self.ending, self.ending.trail
        call = ending.call
        return {
            "call_id": call.id,
            "created": call.created,
            "key": call.key.name if call.key else None,
            "team": call.key.team if call.key else None,
            "route": call.route,
            "task": call.task,
            "stream": call.stream,
            "tags": sorted(call.tags),
            "input_tokens_predicted": call.input_tokens,
            "output_limit": call.output_limit,
            "verdict": ending.verdict.name,
            "status": ending.status,
            "backend": ending.backend or None,
            "seconds": round(ending.seconds, 6),
            "first_event_seconds": ending.first,
            "usage": msgspec.to_builtins(ending.usage),
            "cost_usd": usd(ending.cost),
            "saved_usd": None if self.saved is None else usd(self.saved),
            "error": ending.error or None,
            "attempts": [
                {
                    "backend": a.backend,
                    "verdict": a.verdict.name if a.verdict else None,
                    "detail": a.detail or None,
                    "seconds": round(a.seconds, 6),
                    "cost_usd": usd(a.cost),
                }
                for a in (trail.attempts if trail else ())
            ],
            "plan": plan_json(trail.plan) if trail else None,
        }


def saved(ending: Ending, route: Route | None) -> int | None:
    """Pico-dollars saved against the route's baseline; None when there is none to state."""
    if route is None or route.baseline is None or ending.verdict is not OK or ending.usage is None:
        return None
    return route.baseline.price.of(ending.usage) - ending.cost


class Decisions:
    """The newest *size* decisions of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[str, Decision] = OrderedDict()

    def keep(self, ending: Ending, route: Route | None) -> Decision:
        # The body of the call must not outlive it.
        call = msgspec.structs.replace(ending.call, fields={}, request=None)
        slim = msgspec.structs.replace(ending, call=call)
        decision = Decision(slim, saved(ending, route))
        if self.size:
            self._kept[call.id] = decision
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return decision

    def find(self, call_id: str) -> Decision | None:
        return self._kept.get(call_id)


def reason(trail: Trail) -> str:
    """Why this backend, in one header line."""
    plan: Plan = trail.plan
    words = [plan.objective]
    words += [f"{c.backend} left: {c.left}" for c in plan.candidates if c.left]
    words += [f"{c.backend} late" for c in plan.candidates if c.late and not c.left]
    words += [
        f"{a.backend} {a.verdict.name}"
        for a in trail.attempts
        if a.verdict is not None and a.verdict is not OK
    ]
    return "; ".join(words)


def dollars(amount: int) -> float:
    return amount / PICO
