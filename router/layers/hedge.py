"""A second attempt beside a slow one: the first answer counts, the other is cancelled upstream.

    after     the backend's own quantile (p95), or a given delay
    who       the next of the plan that is free, or paid while the first is free; two paid ones only
              where the route says so
    a paid one beside a free one starts at the last moment at which it can keep the promise, or the
              deadline where there is no promise: earlier it would pay for nothing
    how many  at most a share of the route's calls (an allowance without anything per second), and
              each needs a permit of its backend's retry allowance, slots and reservation as well

Source: Dean and Barroso, "The Tail at Scale" (CACM 2013).
"""

from __future__ import annotations

from asyncio import FIRST_COMPLETED, Task, gather, get_running_loop, wait

from router.core.call import Outcome
from router.core.errors import Rejected
from router.core.reply import Reply
from router.core.verdict import CANCELLED, OK, REJECTED
from router.gates.meter import size_class
from router.route import Backend, Hedge

from .walk import Walk

Running = Task[Reply | None]


def rival(walk: Walk, backend: Backend, hedge: Hedge, now: float) -> tuple[Backend, float] | None:
    """Who may be asked beside *backend*, and after how many seconds; None for nobody."""
    after = hedge.after or _usual(walk, backend, hedge.quantile, now)
    if not after:
        return None
    for other in walk.left:
        if other.price.free:
            return other, after
        if backend.price.free:
            return other, max(after, _last_moment(walk, other, now))
        if hedge.paid_twice:
            return other, after
    return None


def _usual(walk: Walk, backend: Backend, quantile: float, now: float) -> float:
    """Seconds in which a share *quantile* of such calls has been answered; 0 when not known."""
    call, meter = walk.call, backend.gates.meter
    size = size_class(call.input_tokens, walk.route.forecast.output_tokens(call))
    return meter.quantile(size, quantile, now, first=call.stream) * meter.wait()


def _last_moment(walk: Walk, other: Backend, now: float) -> float:
    """Seconds from now at which *other* can just keep what the route owes."""
    call, promise = walk.call, walk.route.promise
    owed = promise.first if call.stream else promise.answer
    end = call.deadline if owed is None else min(call.deadline, call.arrived + owed[1])
    return end - now - (walk.predicted(other) or (end - now) / 2)


async def race(walk: Walk, backend: Backend, other: Backend, seconds: float) -> Reply | None:
    """*backend*'s answer or, should it take more than *seconds*, the first of both.

    None when both failed and another may do better. Raises what ends the whole call.
    """
    create = get_running_loop().create_task
    first: Running = create(walk.attempt(backend))
    running: set[Running] = {first}
    try:
        done, _ = await wait(running, timeout=seconds)
        if not done and other in walk.left and not walk.spent and not walk.dear(other):
            walk.left.remove(other)
            running.add(create(_beside(walk, other)))
        reply: Reply | None = None
        while running and reply is None:
            done, running = await wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                found = _result(task, final=task is first)
                if reply is None:
                    reply = found
                elif found is not None:
                    found.close(CANCELLED)
        return reply
    finally:
        await _leave(running)


def _result(task: Running, *, final: bool) -> Reply | None:
    """What the first says ends the call; what ends the second ends only that one."""
    error = task.exception()
    if error is None:
        return task.result()
    if final:
        raise error
    return None


async def _beside(walk: Walk, other: Backend) -> Reply | None:
    hedge = walk.route.hedge
    assert hedge is not None
    try:
        release = hedge.allowance.acquire(walk.call)
    except Rejected:
        walk.left.insert(0, other)  # not hedged: it may still be failed over to
        return None
    try:
        return await walk.attempt(other, "hedge")
    finally:
        sent = any(a.sent for a in walk.trail.attempts if a.backend == other.name)
        release(Outcome(OK if sent else REJECTED, 0.0))


async def _leave(running: set[Running]) -> None:
    """Cancel what lost the race, which closes its connection, and close what it still answered."""
    for task in running:
        task.cancel()
    for found in await gather(*running, return_exceptions=True):
        if isinstance(found, Reply):
            found.close(CANCELLED)
