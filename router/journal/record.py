"""What the journal holds of a call: one line of JSON, money in whole pico-dollars.

A line is written while a client waits, so it is encoded from structs at once; `shown` makes of it
what `/v1/decisions` shows: dollars as exact decimals, times rounded.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import msgspec

from router.core.call import Usage
from router.core.money import usd
from router.core.task import (
    ChatRequest,
    ClassifyRequest,
    CompleteRequest,
    EmbedRequest,
    Request,
    SpeakRequest,
    TranslateRequest,
)
from router.core.trail import Attempt
from router.decisions import Decision, candidate_json, used
from router.plan import Candidate, Plan


class Tried(msgspec.Struct, frozen=True, gc=False):
    """One attempt. `bound`: the most that it could cost; `cost`: what is booked for it."""

    backend: str
    verdict: str
    detail: str
    seconds: float
    bound: int
    cost: int
    kind: str = "first"
    """first, failover, retry, hedge or resume"""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One call that ended. Times are unix seconds and seconds, money is pico-dollars."""

    call_id: str
    created: int
    ended: float
    key: str | None
    team: str | None
    route: str
    task: str
    stream: bool
    tags: tuple[str, ...]
    input_tokens: int
    output_limit: int
    verdict: str
    status: int
    backend: str
    seconds: float
    first: float | None
    usage: Usage | None
    cost: int
    saved: int | None
    """None: no saving can be stated of this call."""
    baseline: str
    """The backend that `saved` is stated against; "" when none is named."""
    error: str
    attempts: tuple[Tried, ...]
    planned: bool
    objective: str
    rules: tuple[str, ...]
    order: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    prompt: str | None = None
    """SHA-256 of the texts in hexadecimal, where that was asked for."""
    cache: str = ""
    """What the cache had to do with it; "" on routes that keep no answers."""
    criticality: str = "critical"


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode


def made(decision: Decision, prompt: str | None = None, now: float | None = None) -> Record:
    """The record of *decision*, ended now."""
    ending = decision.ending
    trail, key, verdict = ending.trail, decision.key, ending.verdict
    plan: Plan | None = trail.plan if trail else None
    candidates = plan.candidates if plan else ()
    return Record(
        decision.call_id,
        decision.created,
        time.time() if now is None else now,
        key.name if key else None,
        key.team if key else None,
        decision.route,
        decision.task,
        decision.stream,
        tuple(sorted(decision.tags)) if decision.tags else (),
        decision.input_tokens,
        decision.output_limit,
        verdict.name,
        ending.status,
        ending.backend,
        ending.seconds,
        ending.first,
        ending.usage,
        ending.cost,
        decision.saved,
        decision.baseline,
        ending.error,
        tuple([_tried(a, candidates) for a in trail.attempts]) if trail else (),
        plan is not None,
        plan.objective if plan else "",
        plan.rules if plan else (),
        tuple([b.name for b in plan.attempts]) if plan else (),
        candidates,
        prompt,
        ending.cache,
        decision.criticality,
    )


def _tried(attempt: Attempt, candidates: tuple[Candidate, ...]) -> Tried:
    bound = 0
    for candidate in candidates:
        if candidate.backend == attempt.backend:
            bound = candidate.quote
            break
    verdict = attempt.verdict
    return Tried(
        attempt.backend,
        verdict.name if verdict else "",
        attempt.detail,
        attempt.seconds,
        bound,
        attempt.cost,
        attempt.kind,
    )


def shown(record: Record) -> dict[str, Any]:
    """The record as people read it: what `Decision.json` says, and what only the journal holds."""
    found: dict[str, Any] = {
        "call_id": record.call_id,
        "created": record.created,
        "key": record.key,
        "team": record.team,
        "route": record.route,
        "task": record.task,
        "stream": record.stream,
        "tags": list(record.tags),
        "criticality": record.criticality,
        "input_tokens_predicted": record.input_tokens,
        "output_limit": record.output_limit,
        "verdict": record.verdict,
        "status": record.status,
        "backend": record.backend or None,
        "cache": record.cache or None,
        "seconds": round(record.seconds, 6),
        "first_event_seconds": record.first,
        "usage": None if record.usage is None else used(record.usage),
        "cost_usd": usd(record.cost),
        "saved_usd": None if record.saved is None else usd(record.saved),
        "baseline": record.baseline or None,
        "error": record.error or None,
        "attempts": [_attempt(tried) for tried in record.attempts],
        "plan": _plan(record) if record.planned else None,
    }
    if record.prompt is not None:
        found["prompt_sha256"] = record.prompt
    return found


def _attempt(tried: Tried) -> dict[str, Any]:
    return {
        "backend": tried.backend,
        "kind": tried.kind,
        "verdict": tried.verdict or None,
        "detail": tried.detail or None,
        "seconds": round(tried.seconds, 6),
        "bound_usd": usd(tried.bound),
        "cost_usd": usd(tried.cost),
    }


def _plan(record: Record) -> dict[str, Any]:
    return {
        "objective": record.objective,
        "rules_that_held": list(record.rules),
        "order": list(record.order),
        "candidates": [candidate_json(c) for c in record.candidates],
    }


def prompt_hash(request: Request) -> str | None:
    """SHA-256 of what was said, each text on its own line; None for audio and images.

    The same texts give the same hash, whatever else is asked. Short texts can be guessed from it.
    """
    if isinstance(request, ChatRequest):
        texts: tuple[str, ...] = tuple([message.text for message in request.messages])
    elif isinstance(request, CompleteRequest):
        texts = request.prompts
    elif isinstance(request, (EmbedRequest, ClassifyRequest, TranslateRequest)):
        texts = request.texts
    elif isinstance(request, SpeakRequest):
        texts = (request.text,)
    else:
        return None
    # A lone surrogate cannot be encoded, and must not fail the call.
    return sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
