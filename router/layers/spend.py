"""What an attempt costs, by the verdict table: the reported usage, the whole quote, or nothing.

A price per unit charges what the verdict says; an answer without usage is charged its quote,
since an unknown amount is held at its upper bound. A usage that would cost a thousand times that
bound is no count but a fault of the counting, so it is unknown, too. A price per machine-second
charges the seconds that the attempt took, however it ended: nobody bills them later. A refused
request costs nothing.

The quote's own limit (`max_cost`) is checked by the plan. Before a paid attempt is sent, its quote
is held on the ledger (`booking`), in every budget that it concerns; a machine paid by the hour owes
nobody, so its calls do no transaction.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.core.call import NOTHING, Call, Usage
from router.core.errors import RouterError
from router.core.gate import Clock
from router.core.money import Price
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.verdict import CANCELLED, INVALID, UNFIT, Verdict
from router.gates.meter import Meter
from router.layers.booking import Booking
from router.ledger.record import Hold

ABSURD = 1000
"""Times the bound. A bound that proved somewhat too low is another matter: what is told is booked,
and the price is frozen (docs/ledger.md)."""
HIGHEST = 10**18
"""Pico-dollars that one attempt may have cost, where its bound is nothing."""


def no_units(call: Call) -> Usage | None:
    """A backend that is billed by the tokens of texts only."""
    return None


class _Attempt(msgspec.Struct, frozen=True):
    """What one attempt may cost, and what is held for it."""

    price: Price
    meter: Meter
    now: Clock
    started: float
    quote: int
    booking: Booking | None
    hold: Hold | None

    def ended(self, verdict: Verdict, usage: Usage | None) -> int:
        """Its cost in pico-dollars; the books are told."""
        cost = self._cost(verdict, usage)
        if self.hold is not None and self.booking is not None:
            self.booking.close(self.hold, verdict, cost, usage)
        return cost

    def true(self, usage: Usage | None) -> Usage | None:
        """*usage*; None when it cannot be true."""
        if usage is None or self.price.free:
            return usage
        most = ABSURD * self.quote if self.quote else HIGHEST
        return usage if self.price.of(usage) <= most else None

    def _cost(self, verdict: Verdict, usage: Usage | None) -> int:
        if verdict in {INVALID, UNFIT}:
            return 0  # nobody pays for being told that a request is wrong
        if self.price.free:
            return self.price.of(usage or NOTHING, self.now() - self.started, self.meter.share())
        if verdict.charge == "nothing":
            return 0
        return self.quote if usage is None else self.price.of(usage)


def spend(
    price: Price,
    meter: Meter,
    now: Clock,
    units: Callable[[Call], Usage | None] = no_units,
    booking: Booking | None = None,
) -> Layer:
    """Put the cost on every reply and on every error of one backend.

    *units* is the backend's own bound, for tasks that are not billed by the tokens of a text.
    """
    books = None if price.free else booking

    def layer(inner: Service) -> Service:
        async def spent(call: Call) -> Reply:
            started = now()
            left = call.deadline - started
            quote = 0 if price.free else price.quote(call, left, units(call))
            hold = None if books is None else await books.hold(call, quote, left)
            attempt = _Attempt(price, meter, now, started, quote, books, hold)
            try:
                reply = await inner(call)
            except BaseException as exc:
                verdict = exc.verdict if isinstance(exc, RouterError) else CANCELLED
                # Also on CancelledError: dispatch reads it there, for the caller who has gone.
                exc.cost = attempt.ended(verdict, None)  # type: ignore[attr-defined]
                raise
            if reply.events is None:
                reply.usage = attempt.true(reply.usage)
                reply.cost = attempt.ended(reply.verdict, reply.usage)
                return reply

            def settle(verdict: Verdict) -> None:
                reply.usage = attempt.true(reply.usage)
                reply.cost = attempt.ended(verdict, reply.usage)

            reply.on_close(settle)
            return reply

        return spent

    return layer
