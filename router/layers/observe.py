"""Tell *record* how each call ended, once, after its last byte."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.core.call import Call, Usage
from router.core.errors import RouterError
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.trail import Trail
from router.core.verdict import CANCELLED, FAULT, Verdict


class Ending(msgspec.Struct, frozen=True):
    """The end of a call. Seconds from its arrival; cost in pico-dollars over all attempts."""

    call: Call
    verdict: Verdict
    status: int
    backend: str
    """Who answered; "" when nobody did."""
    seconds: float
    first: float | None
    usage: Usage | None
    cost: int
    trail: Trail | None
    error: str


Record = Callable[[Ending], None]


def observe(record: Record, now: Clock) -> Layer:
    """The outermost layer: it sees the refusals of every layer below."""

    def layer(inner: Service) -> Service:
        async def observed(call: Call) -> Reply:
            try:
                reply = await inner(call)
            except BaseException as exc:
                record(_failed(call, exc, now() - call.arrived))
                raise

            def closed(verdict: Verdict) -> None:
                trail = reply.trail
                assert isinstance(trail, Trail)
                seconds = now() - call.arrived
                record(
                    Ending(
                        call,
                        verdict,
                        reply.status,
                        reply.backend,
                        seconds,
                        reply.first,
                        reply.usage,
                        trail.cost,
                        trail,
                        "",
                    )
                )

            reply.on_close(closed)
            return reply

        return observed

    return layer


def _failed(call: Call, exc: BaseException, seconds: float) -> Ending:
    trail = getattr(exc, "trail", None)
    known = isinstance(exc, RouterError)
    return Ending(
        call,
        exc.verdict if known else (FAULT if isinstance(exc, Exception) else CANCELLED),
        exc.status if known else (500 if isinstance(exc, Exception) else 499),
        "",
        seconds,
        None,
        None,
        trail.cost if isinstance(trail, Trail) else 0,
        trail if isinstance(trail, Trail) else None,
        str(exc) if known else type(exc).__name__,
    )
