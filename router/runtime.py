"""One running process: the pipeline that serves now, and what keeps it up to date.

reload     when the file changes or on SIGHUP: a new pipeline is built, then one reference is
           swapped; calls under way finish on the old one; a bad file changes nothing
statuses   each backend's status page is read every second and told to its gates
lag        how late the loop is, ten times a second, told to the admission of the process
gauges     refreshed each second, for the metrics of several processes
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from router import logs
from router.admin import callers, store
from router.admin.leases import Leases
from router.admin.ring import Ring
from router.compiled.keys import NO_KEYS
from router.config import ConfigError, LedgerConfig, read
from router.core.api import Endpoint
from router.core.call import NOTHING, Call, Usage, added
from router.core.ending import Ending
from router.core.errors import RouterError
from router.core.gate import Clock
from router.core.money import pico
from router.core.service import Service
from router.core.task import Task
from router.core.trace import Trace
from router.decisions import Decision, Decisions
from router.fixed import waiting
from router.google_token import Tokens
from router.http1.pool import Pool
from router.journal import Journal, Keep
from router.ledger import books
from router.ledger.database import engine
from router.ledger.keys import KeyRow
from router.ledger.ledger import Ledger
from router.ledger.record import Event, StoreDown
from router.pipeline import Pipeline, World, build
from router.plan import BY_UNIT
from router.route import Backend
from router.telemetry import Telemetry
from router.tracing import Tracing, traced
from router.transport import fetch, http

log = logging.getLogger("isocost")
FIRST_TOKEN = 5.0
"""Seconds that a start waits for the tokens of service accounts."""
SWEEP = 5.0
"""Seconds between two sweeps of the ledger, and between two looks at its books."""
FEEL = 0.1
"""Seconds between two looks at how late the loop is."""
POLL = 1.0
"""Seconds between two looks at status pages and at the file."""


class Bodies:
    """Bytes of request bodies that this process holds, and may hold."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0


class ModelState(msgspec.Struct, frozen=True):
    """What a status page says of one model."""

    ready: bool = False
    pending: Annotated[int, msgspec.Meta(ge=0)] = 0


class StatusPage(msgspec.Struct, frozen=True):
    """What `python -m serving` says of itself (docs/decisions/0001)."""

    up: bool = False
    models: dict[str, ModelState] = {}


NO_PAGE, NOT_THERE = StatusPage(), ModelState()


class Runtime:
    """Holds the pipeline. `start` opens the pool of connections, `stop` closes it."""

    def __init__(
        self,
        path: Path,
        *,
        sandbox: bool = False,
        env: Mapping[str, str] | None = None,
        journal: Path | None = None,
        now: Clock = time.monotonic,
        guarded: bool = False,
    ) -> None:
        """*guarded*: others than this machine can reach it, so nobody is served without a key."""
        self.path, self.sandbox = path, sandbox
        self.now, self._guarded = now, guarded
        self.env = os.environ if env is None else env
        self.telemetry = Telemetry()
        self.tracing: Tracing | None = None
        self.pool = Pool()
        self.tokens = Tokens()
        self.ledger: Ledger | None = None
        self.ring: Ring | None = None
        self.leases: Leases | None = None
        self.draining = False
        """It has been told to stop, and serves on for a while."""
        self._rows: list[KeyRow] = []
        self._state = journal or path.parent / "var" / "router"
        self.pipeline = build(read(path), self._world())
        self._started = self.pipeline.config
        server = self._started.server
        self.tracing = traced(self.pipeline.config, self.env)
        self._log_calls = server.log_calls
        self.decisions = Decisions(server.decisions)
        self.journal: Journal | None = None
        if journal:
            keep, hashed = self._keep()
            self.journal = Journal(journal, keep, hashed=hashed)
        self.body_limit = int(server.body_limit_mb * 1024 * 1024)
        self.media_limit = int(server.media_limit_mb * 1024 * 1024)
        self.bodies = Bodies(int(server.bodies_mb * 1024 * 1024))
        self._stamp = self._mtime()
        self._used: dict[str, dict[Task, Usage]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def _world(self) -> World:
        return World(
            folder=self.path.parent,
            env=self.env,
            now=self.now,
            send=self._send,
            record=self._record,
            sandbox=self.sandbox,
            ledger=lambda: self.ledger,
            leases=lambda: self.leases,
            guarded=self._guarded,
            token=self.tokens.of,
        )

    def _send(self, endpoint: Endpoint) -> Service:
        return http(endpoint, pool=self.pool, now=self.now)

    def _record(self, call: Call, ending: Ending) -> None:
        route = self.pipeline.routes.get(call.route)
        self.telemetry.record(call, ending, route)
        if self.tracing is not None:
            self.tracing.record(call, ending)
        if self._log_calls:
            logs.call(call, ending)
        if ending.usage is not None and call.key is not None and call.task in BY_UNIT:
            by_task = self._used.setdefault(call.key.name, {})
            by_task[call.task] = added(by_task.get(call.task, NOTHING), ending.usage)
        decision = self.decisions.keep(call, ending, route)
        if self.journal is not None:
            self.journal.write(decision, call.request)

    def _keep(self) -> tuple[Keep, bool]:
        """How long the journal keeps what, as configured now."""
        config = self.pipeline.config.journal
        return Keep(config.keep_days, int(config.keep_mb * 1024 * 1024)), config.prompt_hash

    def unable(self, backend: Backend) -> str:
        """Why *backend* cannot serve now; "" when it can."""
        gates, ledger = backend.gates, self.ledger
        if not gates.breaker.ready():
            return f"breaker {gates.breaker.state}: {gates.breaker.why}"
        if not gates.health.ready():
            return f"down: {gates.health.detail}"
        if ledger is not None and not ledger.up and not backend.price.free:
            return "" if ledger.allowance_left > 0 else "the ledger is unreachable"
        return ""

    def trace(self, headers: Mapping[bytes, bytes]) -> Trace | None:
        """The trace of a call that comes with these headers; None while traces are off."""
        return None if self.tracing is None else self.tracing.begin(headers)

    def refused(self, call_id: str, wire: str, error: RouterError) -> None:
        """Count a request that never became a call."""
        self.telemetry.refused(wire, error.status)
        if self._log_calls:
            logs.refused(call_id, wire, error)

    def used(self, key: str) -> Mapping[Task, Usage]:
        """What the calls of *key* have used since the process began."""
        return self._used.get(key, {})

    def decision(self, call_id: str) -> dict[str, Any] | None:
        """The record of a call, whichever worker served it; None when it is too old."""
        found: Decision | None = self.decisions.find(call_id)
        if found is not None:
            return found.json()
        return self.journal.find(call_id) if self.journal else None

    async def start(self) -> None:
        for warning in self.pipeline.warnings:
            log.warning(warning)
        await asyncio.to_thread(self.tokens.wait, FIRST_TOKEN)
        await self._open_ledger()
        # Before the first call: until its page was read, a backend counts as down.
        await _tried(self._look)
        for repeat in (self._look, self._watch):
            self._tasks.append(asyncio.create_task(_every(POLL, repeat)))
        self._tasks.append(asyncio.create_task(self._feel()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.close()
        if self.pipeline.stores.shared is not None:
            await self.pipeline.stores.shared.close()
        if self.leases is not None:
            await self.leases.flush()
            await asyncio.to_thread(self.leases.close)
        if self.ledger is not None:
            await self.ledger.close()
        if self.journal is not None:
            self.journal.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)

    def reload(self) -> str:
        """Read the file again; "" when it serves now, else why the old one goes on."""
        try:
            fresh = self._fresh()
        except ConfigError as exc:
            self.telemetry.reloaded("refused")
            log.error("configuration refused, the old one goes on:\n%s", exc)  # noqa: TRY400 - said whole by itself
            return str(exc)
        old, self.pipeline = self.pipeline.stores.shared, fresh
        if old is not None and old is not fresh.stores.shared:
            self._tasks.append(asyncio.create_task(old.close()))
        if self.tracing is not None:
            self.tracing.learn(fresh.config)
        if self.journal is not None:
            keep, hashed = self._keep()
            self.journal.configure(keep, hashed=hashed)
        if self.ledger is not None:
            self._budget()
        if later := waiting(self._started, fresh.config):
            log.warning("changed, but only a start takes it up: %s", ", ".join(later))
        self.telemetry.reloaded("loaded")
        log.info("configuration loaded: %s", self.path)
        return ""

    def _fresh(self) -> Pipeline:
        """What the file says now. Raises ConfigError."""
        fresh = build(read(self.path), self._world(), self.pipeline)
        if fresh.budgets and self.ledger is None:
            raise ConfigError("  budgets: the first ones need a ledger, which only a start opens")
        return fresh

    def _mtime(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    async def _open_ledger(self) -> None:
        """Where money is kept, when the configuration asks for it. Raises ConfigError."""
        config, budgets = self.pipeline.config, self.pipeline.budgets
        where = store.where(config, self.env, self._state)
        if where is None:
            return
        spec = config.ledger or LedgerConfig()
        self.ring = Ring(where, self._know)
        try:
            self.ledger = await Ledger.open(
                where.render_as_string(hide_password=False),
                budgets,
                timeout=spec.timeout,
                allowance=pico(spec.allowance_usd),
                synchronous="FULL" if spec.durable else "NORMAL",
                on_event=self._tell,
                on_change=self.ring.changed,
            )
        except ValueError as exc:
            raise ConfigError(f"ledger: {exc}") from exc
        if not self.ledger.up:
            log.error("the ledger cannot be reached; paid calls: %s", spec.unreachable)
        await self.ring.look()
        self.leases = Leases(where, self.now)
        self._books = engine(where, patience=2.0)
        for repeat in (self._sweep, self._read_books):
            self._tasks.append(asyncio.create_task(_every(SWEEP, repeat)))

    def _know(self, rows: list[KeyRow]) -> None:
        """Use these keys of the store from now on, and their budgets."""
        keys = self.pipeline.keys
        first = keys.stored is None
        self._rows, keys.stored = rows, callers.callers(rows)
        if first and keys.open:
            log.warning(NO_KEYS)
        elif first and self._guarded and not rows and not self.pipeline.config.keys:
            log.warning("no keys are known, so nobody is served: `isocost keys create NAME`")
        self._budget()

    def _budget(self) -> None:
        if self.ledger is not None:
            of_keys = callers.budgets(self._rows, time.time())
            self.ledger.configure(callers.together(self.pipeline.budgets, of_keys))

    def _tell(self, event: Event) -> None:
        log.warning("ledger: %s", event.text)
        self.telemetry.told(event.kind)

    async def _sweep(self) -> None:
        if self.ledger is not None and self.ledger.up:
            with suppress(StoreDown):  # it is looked at again, and calls are told by themselves
                await self.ledger.sweep()

    async def _read_books(self) -> None:
        """What the metrics say of budgets and holds; while the store is away, what it said last."""
        if self.ledger is None or not self.ledger.up:
            return
        now = time.time()
        with suppress(SQLAlchemyError):
            found = await asyncio.to_thread(books.watched, self._books, now)
            self.telemetry.facts.books(self.ledger.budgets.all, found, now)

    async def _watch(self) -> None:
        stamp = self._mtime()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if stamp:
            self.reload()
        else:
            self.telemetry.reloaded("refused")
            log.error("%s cannot be read any more; what was loaded from it goes on", self.path)

    async def _feel(self) -> None:
        """Tell the admission how long an event waits for this loop: late by that is our timer."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + FEEL
            await asyncio.sleep(FEEL)
            self.pipeline.admission.felt(max(0.0, loop.time() - due))

    async def _look(self) -> None:
        self.tokens.look()
        self.pool.sweep()
        pipeline: Pipeline = self.pipeline
        pages = {url for url, _, _ in pipeline.statuses}
        asked = [fetch(self.pool, url, StatusPage, seconds=2 * POLL) for url in pages]
        found = dict(zip(pages, await asyncio.gather(*asked), strict=True))
        for url, model, gates in pipeline.statuses:
            page = found[url] or NO_PAGE
            state = page.models.get(model, NOT_THERE)
            if page is NO_PAGE:
                gates.health.miss("its status page does not answer")
            else:
                up = page.up and state.ready
                gates.health.tell(up=up, queued=state.pending, detail="not ready")
            gates.meter.tell(state.pending)
        self.telemetry.refresh(pipeline.backends, pipeline.routes, pipeline.admission)
        pipeline.stores.memory.sweep()
        self.telemetry.cached(pipeline.stores)
        if self.ledger is not None:
            self.telemetry.ledger_is(up=self.ledger.up)
            frozen = filter(self.ledger.frozen, pipeline.backends)
            self.telemetry.facts.frozen = frozenset(frozen)
            if self.ring is not None and self.ledger.up:
                await self.ring.look()
        if self.leases is not None:
            await self.leases.flush()
        if self.journal is not None:
            self.journal.flush()


async def _every(seconds: float, step: Any) -> None:
    while True:
        await _tried(step)
        await asyncio.sleep(seconds)


async def _tried(step: Any) -> None:
    try:
        await step()
    except Exception:
        # A look that fails must not be the last one.
        log.exception("%s failed, it is tried again", step.__name__)
