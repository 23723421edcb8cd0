"""Walk the plan until one backend answers, before the first byte is sent.

    fail over   the next of the plan, when one failed
    hedge       the next beside one that is slow, where the route says so        (hedge.py)
    ask again   once nobody is left: who failed without an answer that may be billed, after a
                pause of full jitter, uniform(0, BASE x 2^turn)
    resume      a stream that breaks later, where the route says so              (resume.py)

The last error names every attempt and every candidate that was left, so that the caller sees why.

Source of the jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random
from asyncio import sleep
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from router.core.call import Call
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Service
from router.route import Backend, Route

from .hedge import race, rival
from .nothing_left import nothing_left
from .resume import resumable, resumed
from .walk import Walk

BASE, LONGEST = 0.1, 2.0
"""Seconds of the first pause at most, and of any."""
Draw = Callable[[], float]


def dispatch(routes: Mapping[str, Route], now: Clock, draw: Draw = random.random) -> Service:
    """The one service that knows that backends are many. *draw* gives numbers of 0..1."""

    async def served(call: Call) -> Reply:
        route = routes[call.route]
        walk = Walk(call, route, now)
        resumes = route.resume and resumable(call)
        if resumes:
            # Texts in the hub's events, whoever sends them: raw frames cannot be continued.
            walk.call = replace(call, wire="")
        try:
            reply = await _once(walk, now)
            for turn in range(route.retries):
                if reply is not None or walk.spent:
                    break
                reply = await _again(walk, turn, draw)
            if reply is None:
                raise nothing_left(walk)  # noqa: TRY301 - it gets its trail as every other does
        except BaseException as exc:
            exc.trail = walk.trail  # type: ignore[attr-defined]
            raise
        return resumed(walk, reply) if resumes and reply.events is not None else reply

    return served


async def _once(walk: Walk, now: Clock) -> Reply | None:
    """Every backend of the plan in turn; None when nobody answered."""
    backend = walk.next()
    if backend is None:
        return None
    hedge = walk.route.hedge
    if hedge is None:
        reply = await walk.attempt(backend)
    else:
        hedge.allowance.deposit()
        reply = await _hedged(walk, backend, now)
    while reply is None and (backend := walk.next()) is not None:
        reply = await walk.attempt(backend, "failover")
    return reply


async def _hedged(walk: Walk, backend: Backend, now: Clock) -> Reply | None:
    hedge = walk.route.hedge
    assert hedge is not None
    found = rival(walk, backend, hedge, now()) if walk.left else None
    if found is None:
        return await walk.attempt(backend)
    return await race(walk, backend, *found)


async def _again(walk: Walk, turn: int, draw: Draw) -> Reply | None:
    """One more try of a backend that failed, when the wait fits into the time that is left."""
    backend = walk.repeatable()
    if backend is None:
        return None
    pause = backend.gates.pause.retry_after + draw() * min(LONGEST, BASE * 2**turn)
    if pause > LONGEST or walk.ends_within(pause + walk.predicted(backend)):
        return None
    await sleep(pause)
    return await walk.attempt(backend, "retry")
