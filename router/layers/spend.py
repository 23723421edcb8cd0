"""What an attempt costs, by the verdict table: the reported usage, the whole quote, or nothing.

A price per unit charges what the verdict says; an answer without usage is charged its quote,
since an unknown amount is held at its upper bound. A price per machine-second charges the seconds
that the attempt took, however it ended: nobody bills them later.

The quote's own limit (`max_cost`) is checked by the plan; a hard budget is kept here, between the
fence and the send, by the ledger.
"""

from __future__ import annotations

from collections.abc import Callable

from router.core.call import NOTHING, Call, Usage
from router.core.errors import RouterError
from router.core.gate import Clock
from router.core.money import Price
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.verdict import CANCELLED, Verdict
from router.gates.meter import Meter


def no_units(call: Call) -> Usage | None:
    """A backend that is billed by the tokens of texts only."""
    return None


def spend(
    price: Price, meter: Meter, now: Clock, units: Callable[[Call], Usage | None] = no_units
) -> Layer:
    """Put the cost on every reply and on every error of one backend.

    *units* is the backend's own bound, for tasks that are not billed by the tokens of a text.
    """

    def cost(verdict: Verdict, usage: Usage | None, quote: int, started: float) -> int:
        if price.free:
            return price.of(usage or NOTHING, now() - started, meter.share())
        if verdict.charge == "nothing":
            return 0
        return quote if usage is None else price.of(usage)

    def layer(inner: Service) -> Service:
        async def spent(call: Call) -> Reply:
            started = now()
            quote = 0 if price.free else price.quote(call, call.deadline - started, units(call))
            try:
                reply = await inner(call)
            except BaseException as exc:
                verdict = exc.verdict if isinstance(exc, RouterError) else CANCELLED
                # Also on CancelledError: dispatch reads it there, for the caller who has gone.
                exc.cost = cost(verdict, None, quote, started)  # type: ignore[attr-defined]
                raise
            if reply.events is None:
                reply.cost = cost(reply.verdict, reply.usage, quote, started)
                return reply

            def settle(verdict: Verdict) -> None:
                reply.cost = cost(verdict, reply.usage, quote, started)

            reply.on_close(settle)
            return reply

        return spent

    return layer
