"""Hold a permit of every gate while a service runs and its reply is read."""

from __future__ import annotations

from asyncio import CancelledError

from router.core.call import Call, Outcome
from router.core.errors import RouterError
from router.core.gate import Clock, Gate, Release
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.verdict import CANCELLED, FAULT, Verdict


def guard(gates: tuple[Gate, ...], now: Clock) -> Layer:
    """Acquire in order, release in reverse, whatever happens in between."""

    def layer(inner: Service) -> Service:
        async def guarded(call: Call) -> Reply:
            started = now()
            held: list[Release] = []

            def settle(outcome: Outcome) -> None:
                for release in reversed(held):
                    release(outcome)

            try:
                for gate in gates:
                    held.append(gate.acquire(call))
                reply = await inner(call)
            except RouterError as exc:
                settle(Outcome(exc.verdict, now() - started, retry_after=exc.retry_after))
                raise
            except BaseException as exc:
                verdict = CANCELLED if isinstance(exc, CancelledError) else FAULT
                settle(Outcome(verdict, now() - started))
                raise

            def closed(verdict: Verdict) -> None:
                settle(Outcome(verdict, now() - started, reply.usage, reply.first))

            reply.on_close(closed)
            return reply

        return guarded

    return layer
