"""Rates over several replicas: each takes shares of a key's minute from the store, and uses them.

A call uses the share that this process holds, or waits for the store to give another: a twentieth
of the limit, or what the call needs. What is left of a share after a second goes back. So with few
calls the whole limit can be used, and with many one transaction serves many of them.

While the store is away each process keeps to the limit by itself (`gates/rate`): in the worst case
as many times the limit as there are processes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Any

import msgspec
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from router.core.call import Call, Outcome
from router.core.errors import RateLimited, RouterError
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.verdict import CANCELLED, FAULT, Verdict
from router.gates.key import Caller
from router.gates.rate import MILLI, Kind, Standing, estimate, taken, vendor_headers, word
from router.ledger.database import engine
from router.ledger.rates import TTL, Granted, Spent, Want, correct, take

log = logging.getLogger("isocost")
SHARE = 20
"""A share is this part of the limit, unless a call needs more."""
PATIENCE = 1.0
"""Seconds to wait for the store; then the call is served without it, and others for so long."""
REMEMBER = 0.25
"""Seconds for which a refusal of the store is repeated without asking it again."""
DOWN = (SQLAlchemyError, TimeoutError)


class Share(msgspec.Struct):
    """What is left to use until *until* (monotonic)."""

    left: dict[str, int]
    second: int
    until: float


class Leases:
    """The shares of one process. Everything but the transactions runs in the loop."""

    def __init__(self, url: URL, now: Clock = time.monotonic) -> None:
        self._engine, self._now = engine(url, patience=PATIENCE), now
        self._thread = ThreadPoolExecutor(1, "rates")
        self._connection: Connection | None = None
        self._shares: dict[str, Share] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._spent: dict[str, tuple[float, Spent]] = {}
        self._changes: dict[tuple[str, str, int], int] = {}
        self._away_until = float("-inf")

    async def use(self, key: str, wants: dict[str, Want]) -> int | Spent | None:
        """Use what each kind needs: the second in which it counts. None: the store is away."""
        if self._now() < self._away_until:
            return None
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            second = self._from_share(key, wants)
            if second is not None:
                return second
            until, spent = self._spent.get(key, (0.0, None))
            if spent is not None and self._now() < until and wants[spent.kind].need > spent.left:
                return spent
            return await self._from_store(key, wants)

    def _from_share(self, key: str, wants: dict[str, Want]) -> int | None:
        share = self._shares.get(key)
        if share is None or self._now() >= share.until:
            return None
        if any(share.left.get(kind, 0) < want.need for kind, want in wants.items()):
            return None
        for kind, want in wants.items():
            share.left[kind] -= want.need
        return share.second

    async def _from_store(self, key: str, wants: dict[str, Want]) -> int | Spent | None:
        self._give_back(key)
        changes = self._due()
        until = self._now() + TTL
        try:
            found: Granted | Spent = await self._run(partial(_take, key, wants, changes))
        except DOWN as exc:
            self._away(exc)
            return None
        if isinstance(found, Spent):
            self._spent[key] = (self._now() + min(REMEMBER, found.wait), found)
            return found
        self._spent.pop(key, None)
        left = {kind: found.amounts[kind] - want.need for kind, want in wants.items()}
        self._shares[key] = Share(left, found.second, until)
        return found.second

    def correct(self, key: str, second: int, more: dict[str, int]) -> None:
        """What was used differs by so much from what was taken. Written at the next `flush`."""
        for kind, amount in more.items():
            if amount:
                at = (key, kind, second)
                self._changes[at] = self._changes.get(at, 0) + amount

    async def flush(self) -> None:
        """Give back what was not used in time, and write corrections. About once a second."""
        now = self._now()
        for key in [key for key, share in self._shares.items() if now >= share.until]:
            self._give_back(key)
        for key in [k for k, turn in self._turns.items() if not turn.locked()]:
            if key not in self._shares and self._spent.get(key, (0.0,))[0] < now:
                del self._turns[key]
                self._spent.pop(key, None)
        if not self._changes or now < self._away_until:
            return
        try:
            await self._run(partial(correct, changes=self._due()))
        except DOWN as exc:
            # What was not given back is free again when its minute is over.
            self._away(exc)

    def close(self) -> None:
        self._thread.submit(self._drop)
        self._thread.shutdown(wait=True)

    def _give_back(self, key: str) -> None:
        share = self._shares.pop(key, None)
        if share is not None:
            self.correct(key, share.second, {kind: -left for kind, left in share.left.items()})

    def _due(self) -> list[tuple[str, str, int, int]]:
        changes, self._changes = self._changes, {}
        return [(*at, more) for at, more in changes.items() if more]

    def _away(self, exc: Exception) -> None:
        log.warning("rates are kept by each process: the store is away (%s)", type(exc).__name__)
        self._away_until = self._now() + PATIENCE

    async def _run(self, work: Callable[[Connection], Any]) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            return await loop.run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[Connection], Any]) -> Any:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            return work(self._connection)
        except SQLAlchemyError:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _take(
    key: str, wants: dict[str, Want], changes: list[Any], connection: Connection
) -> Granted | Spent:
    if changes:
        correct(connection, changes)
    return take(connection, key, wants)


def lease(leases: Callable[[], Leases | None]) -> Layer:
    """Keep the limits of keys over all replicas on one store. Raises RateLimited."""

    def layer(inner: Service) -> Service:
        def entered(call: Call) -> Awaitable[Reply]:
            own = leases()
            if own is None or not isinstance(call.key, Caller):
                return inner(call)
            wants = _wants(call)
            return leased(call, own, wants) if wants else inner(call)

        async def leased(call: Call, own: Leases, wants: dict[str, Want]) -> Reply:
            key = call.key
            assert key is not None
            found = await own.use(key.name, wants)
            if isinstance(found, Spent):
                raise _limited(call, found, wants)

            def ended(verdict: Verdict, reply: Reply | None = None) -> None:
                usage = None if reply is None else reply.usage
                if found is not None:
                    more = _more(call, wants, Outcome(verdict, 0.0, usage))
                    own.correct(key.name, found, more)

            try:
                reply = await inner(call)
            except RouterError as exc:
                ended(exc.verdict)
                raise
            except BaseException as exc:
                ended(CANCELLED if isinstance(exc, CancelledError) else FAULT)
                raise
            reply.on_close(lambda verdict: ended(verdict, reply))
            return reply

        return entered

    return layer


def _wants(call: Call) -> dict[str, Want]:
    key, wants = call.key, {}
    if isinstance(key, Caller):
        needs = (("requests", MILLI, key.limits.requests), ("units", None, key.limits.units))
        for kind, need, limit in needs:
            if limit is not None:
                needed = estimate(call) if need is None else need
                # Whole requests: half of one is of no use to anybody.
                share = MILLI * ceil(limit / SHARE)
                wants[kind] = Want(needed, max(needed, share), MILLI * limit)
    return wants


def _more(call: Call, wants: dict[str, Want], outcome: Outcome) -> dict[str, int]:
    more = {}
    if outcome.verdict.name == "rejected" and "requests" in wants:
        more["requests"] = -MILLI
    if "units" in wants:
        estimated = wants["units"].need
        more["units"] = taken(call, outcome, estimated) - estimated
    return more


def _limited(call: Call, spent: Spent, wants: dict[str, Want]) -> RateLimited:
    assert call.key is not None
    what = "requests" if spent.kind == "requests" else word(call.task)
    want, wait = wants[spent.kind], max(1, ceil(spent.wait))
    stands = Standing(want.limit // MILLI, spent.left // MILLI, spent.wait)
    kind: Kind = "requests" if spent.kind == "requests" else "units"
    return RateLimited(
        f"Key {call.key.name!r} may use {want.limit // MILLI} {what} a minute over all replicas: "
        f"{spent.left // MILLI} are left, and this call may take {-(-want.need // MILLI)}. "
        f"Try again in {wait} s.",
        retry_after=float(wait),
        headers=vendor_headers(call, {kind: stands}),
    )
