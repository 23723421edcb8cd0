"""The last decisions, whole, and what of them fits into headers.

A record holds no prompt and no answer. It says who asked for what, every candidate with its
expected cost and predicted seconds and why it was taken or left, each attempt and how it ended,
what it cost and what the baseline would have cost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.core.call import Call, Key, Usage
from router.core.ending import Ending
from router.core.money import usd
from router.core.trail import Attempt, Trail
from router.core.verdict import OK
from router.plan import AILING, Candidate, Plan, baseline_cost
from router.route import Route


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


class Decision(msgspec.Struct, frozen=True, gc=False):
    """One ended call, ready to be shown. It holds nothing of the body: that must not outlive it."""

    call_id: str
    created: int
    key: Key | None
    route: str
    task: str
    stream: bool
    tags: frozenset[str]
    input_tokens: int
    output_limit: int
    ending: Ending
    saved: int | None
    baseline: str = ""
    """The backend that `saved` is stated against; "" where the route has none."""
    criticality: str = "critical"

    def json(self) -> dict[str, Any]:
        """Money in USD as exact decimals, times in seconds."""
        ending, trail = self.ending, self.ending.trail
        return {
            "call_id": self.call_id,
            "created": self.created,
            "key": self.key.name if self.key else None,
            "team": self.key.team if self.key else None,
            "route": self.route,
            "task": self.task,
            "stream": self.stream,
            "tags": sorted(self.tags),
            "criticality": self.criticality,
            "input_tokens_predicted": self.input_tokens,
            "output_limit": self.output_limit,
            "verdict": ending.verdict.name,
            "status": ending.status,
            "backend": ending.backend or None,
            "cache": ending.cache or None,
            "seconds": round(ending.seconds, 6),
            "first_event_seconds": ending.first,
            "usage": None if ending.usage is None else used(ending.usage),
            "cost_usd": usd(ending.cost),
            "saved_usd": None if self.saved is None else usd(self.saved),
            "baseline": self.baseline or None,
            "error": ending.error or None,
            "attempts": [_attempt(a) for a in (trail.attempts if trail else ())],
            "plan": plan_json(trail.plan) if trail else None,
        }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "backend": attempt.backend,
        "kind": attempt.kind,
        "verdict": attempt.verdict.name if attempt.verdict else None,
        "detail": attempt.detail or None,
        "seconds": round(attempt.seconds, 6),
        "cost_usd": usd(attempt.cost),
    }


def saved(ending: Ending, route: Route | None) -> int | None:
    """Pico-dollars saved against the route's baseline; None when there is none to state."""
    if route is None or route.baseline is None or ending.verdict is not OK or ending.usage is None:
        return None
    if ending.trail is None:
        return None
    baseline = baseline_cost(route, ending.trail, ending.usage)
    return None if baseline is None else baseline - ending.cost


class Decisions:
    """The newest *size* decisions of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: dict[str, Decision] = {}

    def keep(self, call: Call, ending: Ending, route: Route | None) -> Decision:
        """Note how *call* ended."""
        decision = Decision(
            call.id,
            call.created,
            call.key,
            call.route,
            call.task,
            call.stream,
            call.tags,
            call.input_tokens,
            call.output_limit,
            ending,
            saved(ending, route),
            route.baseline.name if route is not None and route.baseline is not None else "",
            call.criticality,
        )
        if self.size:
            self._kept.pop(call.id, None)  # an id that is used again counts as new
            self._kept[call.id] = decision
            if len(self._kept) > self.size:
                del self._kept[next(iter(self._kept))]
        return decision

    def find(self, call_id: str) -> Decision | None:
        return self._kept.get(call_id)


def reason(trail: Trail) -> str:
    """Why this backend, in one header line."""
    plan: Plan = trail.plan
    words = [plan.objective]
    words += [f"{c.backend} left: {c.left}" for c in plan.candidates if c.left]
    words += [f"{c.backend} late" for c in plan.candidates if c.late and not c.left]
    words += [f"{c.backend} failing" for c in plan.candidates if c.why == AILING]
    words += [
        f"{a.backend} {a.verdict.name}"
        for a in trail.attempts
        if a.verdict is not None and a.verdict is not OK
    ]
    words += [f"{a.backend} by {a.kind}" for a in trail.attempts if a.kind in {"hedge", "retry"}]
    return "; ".join(words)


def used(usage: Usage) -> dict[str, Any]:
    """Units that were used; tokens are there even when there are none of them."""
    found = {name: getattr(usage, name) for name in Usage.__struct_fields__}
    always = {"input_tokens", "output_tokens"}
    kept: dict[str, Any] = {n: value for n, value in found.items() if value or n in always}
    if usage.features:
        kept["features"] = dict(usage.features)
    return kept
