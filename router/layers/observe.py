"""Tell *record* how each call ended, once, after its last byte."""

from __future__ import annotations

from collections.abc import Callable

from router.core.call import Call
from router.core.ending import Ending
from router.core.errors import RouterError
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.trail import Trail
from router.core.verdict import CANCELLED, FAULT, REJECTED, Verdict

Record = Callable[[Call, Ending], None]


def observe(record: Record, now: Clock) -> Layer:
    """The outermost layer: it sees the refusals of every layer below."""

    def layer(inner: Service) -> Service:
        async def observed(call: Call) -> Reply:
            try:
                reply = await inner(call)
            except BaseException as exc:
                record(call, _failed(exc, now() - call.arrived))
                raise

            def closed(verdict: Verdict) -> None:
                trail = reply.trail
                assert isinstance(trail, Trail)
                seconds = now() - call.arrived
                ending = Ending(
                    verdict,
                    reply.status,
                    reply.backend,
                    seconds,
                    reply.first,
                    reply.usage,
                    trail.cost,
                    trail,
                    "",
                    reply.cache.state if reply.cache is not None else "",
                )
                record(call, ending)

            reply.on_close(closed)
            return reply

        return observed

    return layer


def _last(verdict: Verdict, trail: Trail | None) -> Verdict:
    """That of the last attempt that was sent, where nothing but its failure refused the call."""
    sent = [] if trail is None else [a.verdict for a in trail.attempts if a.sent]
    return sent[-1] or verdict if verdict is REJECTED and sent else verdict


def _failed(exc: BaseException, seconds: float) -> Ending:
    trail = getattr(exc, "trail", None)
    kept = trail if isinstance(trail, Trail) else None
    if isinstance(exc, RouterError):
        verdict, status, text = _last(exc.verdict, kept), exc.status, str(exc)
        reason = exc.code
    elif isinstance(exc, Exception):
        verdict, status, text = FAULT, 500, type(exc).__name__
        reason = RouterError.code
    else:
        verdict, status, text = CANCELLED, 499, "the client left"
        reason = "client_left"
    cost = kept.cost if kept else 0
    return Ending(verdict, status, "", seconds, None, None, cost, kept, text, reason=reason)
