"""The composition root: knows every part and their order, with the reason beside each line.

It compiles a configuration into a ready pipeline.
A reload builds a new Pipeline and swaps one reference; gates are carried over by backend name,
so breakers, slots and measurements outlive it. A configuration with any fault raises ConfigError
with all of them and leaves what runs untouched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import msgspec

from router import apis
from router.admin.leases import lease
from router.cache.stores import Stores
from router.compiled.abilities import abilities
from router.compiled.budget import budget
from router.compiled.cache import policy, stores
from router.compiled.doors import doors
from router.compiled.gates import concurrency, gates, known
from router.compiled.keys import NO_KEYS, keys
from router.compiled.price import price
from router.compiled.route import route
from router.compiled.world import World
from router.config import BackendConfig, Config, ConfigError
from router.core.api import Api, Endpoint
from router.core.call import Call, Usage
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Layer, Service, stack
from router.core.task import Task
from router.gates.admission import Process
from router.gates.key import Caller, Keys
from router.gates.rate import Rates, vendor_headers
from router.layers.adapt import adapt
from router.layers.booking import Booking
from router.layers.cache import cache
from router.layers.dispatch import dispatch
from router.layers.guard import guard
from router.layers.observe import observe
from router.layers.spend import no_units, spend
from router.ledger.budget import Budget
from router.plan import BY_UNIT
from router.route import Backend, Gates, Route
from router.rules import RuleError
from router.secrets import Secret, SecretError, secret

__all__ = ["Pipeline", "World", "build"]


class Pipeline(msgspec.Struct, frozen=True):
    """A configuration, ready to serve."""

    config: Config
    service: Service
    routes: dict[str, Route]
    tasks: dict[str, Task]
    """Route -> what it does."""
    backends: dict[str, Backend]
    """By their name in the configuration; a backend's own name may end in `-sandbox`."""
    keys: Keys
    rates: Rates
    doors: dict[tuple[str, Task], str]
    """(wire, task) -> the route of calls whose body has no place for one."""
    budgets: tuple[Budget, ...]
    admission: Process
    """How many calls are in progress, and may be."""
    statuses: tuple[tuple[str, str, Gates], ...]
    """(status URL, model, gates to tell) of the backends that have a status page."""
    stores: Stores
    """Of answers that are kept."""
    warnings: tuple[str, ...]


def build(config: Config, world: World, old: Pipeline | None = None) -> Pipeline:
    """Compile *config*. Raises ConfigError with every fault."""
    unreachable = config.ledger.unreachable if config.ledger else "refuse"
    world = msgspec.structs.replace(world, exchange=config.exchange, unreachable=unreachable)
    parts = _compiled(config, world, old)
    rates = old.rates if old else Rates(world.now)
    admission = old.admission if old else Process(world.now)
    # Gates that were carried over are in use: they change only once nothing can fail any more.
    _tune(config, parts.backends, admission)
    parts.stores.memory.resize(int(config.cache.max_mb * 1024 * 1024))
    statuses = tuple(
        (spec.status, spec.model, parts.backends[name].gates)
        for name, spec in config.backends.items()
        if spec.status
    )
    return Pipeline(
        config,
        _service(config, world, parts, rates, admission),
        parts.routes,
        {name: made.task for name, made in parts.routes.items()},
        parts.backends,
        parts.keys,
        rates,
        parts.doors,
        parts.budgets,
        admission,
        statuses,
        parts.stores,
        (NO_KEYS,) if parts.keys.open else (),
    )


class _Parts(msgspec.Struct, frozen=True):
    """What was made of each section, each on its own."""

    keys: Keys
    backends: dict[str, Backend]
    routes: dict[str, Route]
    doors: dict[tuple[str, Task], str]
    budgets: tuple[Budget, ...]
    stores: Stores


def _compiled(config: Config, world: World, old: Pipeline | None) -> _Parts:
    """Raises ConfigError with the faults of all sections."""
    faults: list[str] = []
    collect = partial(_collect, faults)
    known_keys = collect("keys", partial(keys, config, world, old.keys if old else None))
    backends: dict[str, Backend] = {}
    for name, spec in config.backends.items():
        made = collect(f"backends.{name}", partial(_backend, name, spec, world, old))
        if made is not None:
            backends[name] = made
    routes: dict[str, Route] = {}
    for name in config.routes:
        was = old.routes.get(name) if old else None
        built = collect(f"routes.{name}", partial(route, name, backends, config, world.now, was))
        if built is not None:
            routes[name] = built
    by_wire = collect("doors", partial(doors, config))
    budgets = tuple(
        collect(f"budgets.{index}", partial(budget, wanted, config))
        for index, wanted in enumerate(config.budgets)
    )
    kept = collect("cache", partial(stores, config, world, old.stores if old else None))
    if faults:
        raise ConfigError("\n".join(f"  {fault}" for fault in faults))
    return _Parts(known_keys, backends, routes, by_wire, budgets, kept)


def _service(
    config: Config, world: World, parts: _Parts, rates: Rates, admission: Process
) -> Service:
    """The way of every call."""
    policies = {
        name: policy(spec.cache, parts.routes[name], config)
        for name, spec in config.routes.items()
        if spec.cache is not None
    }
    return stack(
        # Outermost, to see the refusals of every layer below.
        observe(world.record, world.now),
        # Who is it, and may it, and not too often: before anything that costs. Then what the route
        # learns from its answers, whichever backend gave them.
        _enter(parts.keys, rates, parts.routes, policies.keys(), world.now),
        # After this process's own rates: those cost nothing, and refuse most of what is too much.
        lease(world.leases),
        # After everything that asks who calls, before everything that asks what serving costs.
        *([cache(policies, parts.stores, world.now, world.wall)] if policies else ()),
        # Before any backend is chosen, after all that answers without one.
        guard((admission,), world.now),
        # The one service that knows that backends are many.
        service=dispatch(parts.routes, world.now),
    )


def _tune(config: Config, backends: Mapping[str, Backend], admission: Process) -> None:
    for name, spec in config.backends.items():
        gates = backends[name].gates
        gates.in_flight.limit, gates.meter.concurrency = spec.limits.in_flight, concurrency(spec)
        if gates.admission is not None:
            gates.admission.resize(spec.limits.in_flight, known(spec))
    allowed = config.server.admission
    admission.configure(allowed.in_flight, allowed.lag, adaptive=allowed.adaptive)


def _collect(faults: list[str], where: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (ConfigError, RuleError, SecretError, ValueError) as exc:
        faults.append(f"{where}: {exc}")
        return None


def _enter(
    keys: Keys, rates: Rates, routes: dict[str, Route], caching: Collection[str], now: Clock
) -> Layer:
    def layer(inner: Service) -> Service:
        guards = {
            # Where answers are kept, the forecast learns below the cache.
            name: guard((keys, rates) if name in caching else (keys, rates, r.forecast), now)(inner)
            for name, r in routes.items()
        }

        async def limited(call: Call) -> Reply:
            reply = await guards[call.route](call)
            reply.passed += vendor_headers(call, rates.standing(call))
            return reply

        def entered(call: Call) -> Awaitable[Reply]:
            # Keys without any limit of their own are most of the traffic.
            return limited(call) if isinstance(call.key, Caller) else guards[call.route](call)

        return entered

    return layer


def _backend(name: str, spec: BackendConfig, world: World, old: Pipeline | None) -> Backend:
    """The stack of one backend: built once, run once per attempt."""
    api, written = apis.load(spec.api), name
    base, key_env = (spec.base or api.base).rstrip("/"), spec.key_env
    if not base:
        raise ConfigError(f"base: is missing; {spec.api} has no address of its own")
    unset = key_env is not None and not world.env.get(key_env)
    if unset and spec.sandbox and world.sandbox:
        name, base = f"{name}-sandbox", spec.sandbox.base.rstrip("/")
        key: Secret = lambda: "sk-sandbox-isocost"  # noqa: E731 - typed by its annotation
    else:
        key = secret(
            key_env,
            spec.key_file,
            spec.credentials_file,
            folder=world.folder,
            env=world.env,
            token=world.token,
        )
    tasks = frozenset[Task](spec.tasks) if spec.tasks else api.tasks
    if unserved := tasks - api.tasks:
        raise ConfigError(f"tasks: api {spec.api} cannot do {', '.join(sorted(unserved))}")
    cost = price(spec, world.exchange)
    local = spec.local if spec.local is not None else spec.api == "torchserve"
    kept = next((b.gates for b in old.backends.values() if b.name == name), None) if old else None
    mine = gates(spec, world.now, kept, old.config.backends.get(written) if old else None)
    able = abilities(spec)
    spoken = api.at(base)
    endpoint = Endpoint(
        name,
        base,
        spec.model,
        spoken,
        key,
        spec.limits.first_event,
        spec.limits.connect,
        spec.limits.idle,
        able.voice,
        trace=local if spec.trace is None else spec.trace,
    )
    by_unit = bool(tasks & BY_UNIT)
    bound = partial(_bound, spoken, spec.model) if by_unit else no_units
    booking = Booking(world.ledger, written, spec.api, spec.model, world.unreachable)
    service = stack(
        guard(
            (
                # Breaker first: an open one must cost neither a slot nor a reservation.
                mine.breaker,
                mine.health,
                mine.pause,
                # Slots before money: no reservation for a call that cannot be sent. The adaptive
                # limit first: it knows who is to be refused, and is never above the other.
                *(() if mine.admission is None else (mine.admission,)),
                mine.in_flight,
            ),
            world.now,
        ),
        # Money last of those that refuse: other replicas see its effect.
        spend(cost, mine.meter, world.now, bound, booking),
        # Meter innermost: it times the backend, not our own gates.
        guard((mine.meter,), world.now),
        # Innermost: what it asks for and what it recodes is this backend's own way of serving.
        adapt(endpoint),
        service=world.send(endpoint),
    )
    own = {"local", "local_only"} if local else {"remote"}
    return Backend(
        name=name,
        api=spoken,
        model=spec.model,
        tasks=tasks,
        price=cost,
        local=local,
        tags=frozenset(spec.tags) | own,
        context=spec.context,
        gates=mine,
        service=service,
        abilities=able,
        first_event=spec.limits.first_event,
    )


def _bound(api: Api, model: str, call: Call) -> Usage | None:
    return api.units(call, model) if call.task in BY_UNIT else None
