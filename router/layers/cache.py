"""Give an answer again to an equal call, where its route keeps answers (docs/caching.md).

    hit     made less than `ttl` ago: no backend is asked, no money is held
    shared  an equal call was under way: its answer, when it came
    stale   made less than `ttl + stale` ago, and the backends gave none
    miss    asked for, and kept if it is whole: no error, no broken or cancelled stream
    bypass  the same request may get another answer, or the caller wants nothing kept

A whole answer of equal calls is asked for once (`flights`). Streams are recorded and replayed, but
do not wait for each other: whoever waited for the end of another's would get its first event late.
What must stay in the house is kept in this process only.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing

import msgspec

from router.cache.entry import pack, packed
from router.cache.key import digest, settled
from router.cache.stores import Found, Stores
from router.core.call import Call
from router.core.errors import (
    AttemptFailed,
    DeadlineExceeded,
    NoBackend,
    Rejected,
    RouterError,
)
from router.core.gate import Clock
from router.core.reply import CACHE, Reply, Served
from router.core.service import Layer, Service
from router.core.task import AnnotateResult, Event, Task
from router.core.trail import Trail
from router.core.verdict import OK, Verdict
from router.layers.flights import Flight, Flights
from router.layers.guard import guard
from router.plan import Plan, baseline_cost
from router.route import Route

MEDIA: frozenset[Task] = frozenset({"transcribe", "annotate"})
"""Tasks whose calls are named in a thread: hashing megabytes would hold up everybody else."""
OUTAGE = (NoBackend, DeadlineExceeded, AttemptFailed, Rejected)
"""Endings for which an old answer may stand in: nothing is wrong with the call itself."""
MISS, BYPASS = Served("miss"), Served("bypass")


class Policy(msgspec.Struct, frozen=True):
    """How one route keeps answers. Times in seconds."""

    route: Route
    ttl: float
    stale: float
    shared: bool
    """Its keys share their answers."""
    config: bytes
    """Digest of what the configuration says of the route and its backends."""

    @property
    def kept(self) -> float:
        return self.ttl + self.stale

    def inside(self, call: Call) -> bool:
        """Whether the answer must stay in the house: its call may go to local backends only."""
        if "local_only" in call.tags:
            return True
        effects = [e for e in self.route.rules(call) if e.exclude or e.require is not None]
        return bool(effects) and all(
            backend.local
            for backend in self.route.backends
            if not any(backend.name in e.exclude for e in effects)
            and all(e.require is None or backend.name in e.require for e in effects)
        )


def cache(policies: Mapping[str, Policy], stores: Stores, now: Clock, wall: Clock) -> Layer:
    """Answers of the routes in *policies* are kept in *stores*."""

    def layer(inner: Service) -> Service:
        # The forecast learns from backends only, so it is asked below.
        kept = {
            name: _Kept(policy, stores, wall, guard((policy.route.forecast,), now)(inner))
            for name, policy in policies.items()
        }

        def entered(call: Call) -> Awaitable[Reply]:
            own = kept.get(call.route)
            return inner(call) if own is None else own.answer(call)

        return entered

    return layer


class _Kept:
    """The answers of one route."""

    def __init__(self, policy: Policy, stores: Stores, wall: Clock, inner: Service) -> None:
        self._policy, self._stores, self._wall, self._inner = policy, stores, wall, inner
        self._flights: Flights[Found] = Flights()

    async def answer(self, call: Call) -> Reply:
        if call.caching == "no-store" or not settled(call):
            return await self._past(call)
        policy = self._policy
        if call.task in MEDIA:
            name = await to_thread(digest, call, policy.config, shared=policy.shared)
        else:
            name = digest(call, policy.config, shared=policy.shared)
        if name is None:
            return await self._past(call)
        if call.caching == "no-cache":
            return await self._fetch(call, name, None)
        found = self._stores.near(name, call.task)
        if found is not None and found.age < policy.ttl:
            return _again(found, "hit")
        if call.stream:
            return await self._fetch(call, name, found)
        return await self._together(call, name, found)

    async def _past(self, call: Call) -> Reply:
        reply = await self._inner(call)
        reply.cache = BYPASS
        return reply

    async def _together(self, call: Call, name: bytes, old: Found | None) -> Reply:
        flight, leads = self._flights.board(name)
        if not leads:
            try:
                turn = await flight.wait(call.deadline)
            except TimeoutError:
                late = DeadlineExceeded(
                    f"Route {call.route!r}: an equal call is still under way, and the deadline has "
                    "passed; allow more time."
                )
                return self._instead(old, late)
            if isinstance(turn, Found):
                return _again(turn, "shared")
            if turn == "over":
                gone = NoBackend(
                    f"Route {call.route!r}: equal calls found no backend. Try again in a moment.",
                    retry_after=1.0,
                )
                return self._instead(old, gone)
            if turn == "alone":
                return await self._fetch(call, name, old)
        return await self._lead(call, name, old, flight)

    async def _lead(
        self, call: Call, name: bytes, old: Found | None, flight: Flight[Found]
    ) -> Reply:
        try:
            reply = await self._fetch(call, name, old)
        except BaseException as exc:
            flight.failed(outage=_everybodys(exc))
            raise
        if reply.cache is not None and reply.cache.state == "stale":
            flight.failed(outage=True)
        else:
            made = self._stores.near(name, call.task)
            flight.landed(made if made is not None and made.age < self._policy.ttl else None)
        return reply

    async def _fetch(self, call: Call, name: bytes, old: Found | None) -> Reply:
        """Ask the shared store, then the backends."""
        policy, stores = self._policy, self._stores
        inside = stores.shared is None or policy.inside(call)
        if not inside and call.caching != "no-cache":
            far = await stores.far(name, call.task, policy.kept)
            if far is not None and far.age < policy.ttl:
                return _again(far, "hit")
            old = far or old
        try:
            reply = await self._inner(call)
        except OUTAGE as exc:
            return self._instead(old, exc)
        reply.cache = MISS
        if reply.events is not None:
            self._record(reply, reply.events, name, inside=inside)
        elif _whole(call, reply):
            self._keep(reply, name, None, inside=inside)
        return reply

    def _instead(self, old: Found | None, error: RouterError) -> Reply:
        """An old answer in place of *error*, which is raised when there is none."""
        if old is None or old.age >= self._policy.kept:
            raise error
        return _again(old, "stale", error.trail)

    def _keep(
        self, reply: Reply, name: bytes, events: list[tuple[int, bytes]] | None, *, inside: bool
    ) -> None:
        trail, usage = reply.trail, reply.usage
        baseline = None
        if isinstance(trail, Trail) and usage is not None:
            baseline = baseline_cost(self._policy.route, trail, usage)
        blob = pack(name, reply, self._wall(), baseline, events)
        self._stores.keep(name, blob, self._policy.kept, inside=inside)

    def _record(
        self, reply: Reply, events: AsyncIterator[bytes | Event], name: bytes, *, inside: bool
    ) -> None:
        tape = _Tape(self._stores.memory.largest)
        reply.events = tape.record(events)

        def closed(verdict: Verdict) -> None:
            if verdict is OK and tape.complete:
                self._keep(reply, name, tape.pieces, inside=inside)

        reply.on_close(closed)


class _Tape:
    """The events of one stream, as they pass: *largest* bytes at most, else none."""

    def __init__(self, largest: int) -> None:
        self._left = largest
        self.pieces: list[tuple[int, bytes]] = []
        self.complete = False

    async def record(self, events: AsyncIterator[bytes | Event]) -> AsyncIterator[bytes | Event]:
        # Closed with this one: what was used is noted when the inner one ends.
        async with aclosing(events) as inner:  # type: ignore[type-var]
            async for event in inner:
                if self._left > 0:
                    self._take(packed(event))
                yield event
        self.complete = self._left > 0

    def _take(self, piece: tuple[int, bytes] | None) -> None:
        """None: a note, that another backend went on; two of them made this answer."""
        self._left -= self._left if piece is None else len(piece[1])
        if piece is None or self._left <= 0:
            self.pieces.clear()
        else:
            self.pieces.append(piece)


def _again(found: Found, state: str, trail: object = None) -> Reply:
    """A kept answer as a reply; *trail*: of the attempts that failed before it."""
    entry = found.entry
    reply = Reply(
        backend=CACHE,
        status=entry.status,
        result=entry.result,
        body=entry.body,
        events=None if entry.events is None else _replay(entry.events),
        usage=entry.usage,
    )
    reply.model, reply.cost = entry.model, 0
    reply.cache = Served(state, found.age)  # type: ignore[arg-type]
    if not isinstance(trail, Trail):
        trail = Trail(Plan((), (), f"cached, from {entry.backend}", ()))
    trail.baseline = entry.baseline
    reply.trail = trail
    return reply


async def _replay(events: tuple[bytes | Event, ...]) -> AsyncIterator[bytes | Event]:
    for event in events:
        yield event


def _whole(call: Call, reply: Reply) -> bool:
    """Whether *reply* is an answer to all that was asked, as far as can be told."""
    if reply.verdict is not OK or reply.failure is not None or reply.status >= 300:
        return False
    if isinstance(reply.result, AnnotateResult):
        return not any(image.error for image in reply.result.images)
    # In the vendor's own words an image's failure stands among the answers to the others.
    return call.task != "annotate" or b'"error"' not in reply.body


def _everybodys(exc: BaseException) -> bool:
    """Whether an equal call would have failed as well: not by its own money, deadline or place."""
    if not isinstance(exc, NoBackend):
        return False
    plan = getattr(exc.trail, "plan", None)
    own = {"cost", "deadline", "full"}  # fewer places are full for those who matter more
    return plan is None or not any(c.left in own for c in plan.candidates)
