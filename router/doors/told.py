"""What a client is told of a decision: headers of an answer, a last comment line of a stream."""

from __future__ import annotations

import re

from router.core.call import Call
from router.core.money import usd
from router.core.reply import Reply
from router.core.trail import Trail
from router.decisions import reason
from router.plan import Plan, baseline_cost
from router.route import Route

Headers = list[tuple[bytes, bytes]]
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
"""A vendor's words may hold them; a header may not."""


def told(call: Call, reply: Reply, route: Route | None) -> Headers:
    """The decision in headers. A stream's cost is not known yet: its expected cost is told."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    headers: Headers = [
        *reply.passed,
        (b"x-isocost-call-id", call.id.encode()),
        (b"x-isocost-backend", reply.backend.encode()),
        (b"x-isocost-attempts", b"%d" % trail.sent),
        (b"x-isocost-reason", latin(reason(trail))),
    ]
    cache = reply.cache
    if cache is not None:
        headers.append((b"x-isocost-cache", cache.state.encode()))
        if cache.age is not None:
            headers.append((b"age", b"%d" % cache.age))
    if reply.cost is None:
        plan: Plan = trail.plan
        expected = next(c.cost for c in plan.candidates if c.backend == reply.backend)
        headers.append((b"x-isocost-expected-cost-usd", usd(expected).encode()))
        return headers
    headers.append((b"x-isocost-cost-usd", usd(trail.cost).encode()))
    saved = _saved(reply, route, trail.cost)
    if saved is not None:
        headers.append((b"x-isocost-saved-usd", usd(saved).encode()))
    return headers


def _saved(reply: Reply, route: Route | None, cost: int) -> int | None:
    if route is None or route.baseline is None or reply.usage is None or reply.failure is not None:
        return None
    trail = reply.trail
    assert isinstance(trail, Trail)
    baseline = baseline_cost(route, trail, reply.usage)
    return None if baseline is None else baseline - cost


def summary(call: Call, reply: Reply, route: Route | None) -> bytes:
    """A last comment line, which clients of server-sent events skip: what the stream cost."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    saved = _saved(reply, route, trail.cost)
    tail = "" if saved is None else f" saved-usd={usd(saved)}"
    return f": isocost call-id={call.id} cost-usd={usd(trail.cost)}{tail}\n\n".encode()


def latin(text: str) -> bytes:
    return _CONTROL.sub(b" ", text.encode("latin-1", "replace")[:1000])
