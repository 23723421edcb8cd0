"""The composition root: knows every part and their order, with the reason beside each line.

It compiles a configuration into a ready pipeline.
A reload builds a new Pipeline and swaps one reference; gates are carried over by backend name,
so breakers, slots and measurements outlive it. A configuration with any fault raises ConfigError
with all of them and leaves what runs untouched.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec

from router import apis
from router.admin.leases import Leases, lease
from router.cache.memory import Memory
from router.cache.redis import Shared, connect
from router.cache.stores import Stores
from router.config import (
    BackendConfig,
    BudgetConfig,
    Config,
    ConfigError,
    KeyConfig,
    QuantileConfig,
    RouteCacheConfig,
    RouteConfig,
)
from router.config import seconds_worth as worth
from router.core.ability import Abilities
from router.core.api import Api, Endpoint
from router.core.call import Call, Key, Usage
from router.core.gate import Clock
from router.core.money import Price, pico
from router.core.reply import CACHE, Reply
from router.core.service import Layer, Service, stack
from router.core.task import Task
from router.gates.admission import Admission, Process
from router.gates.breaker import Breaker
from router.gates.forecast import Forecast
from router.gates.health import Health
from router.gates.in_flight import InFlight
from router.gates.key import Caller, Keys, Limits
from router.gates.meter import Meter
from router.gates.pause import Pause
from router.gates.rate import Rates, vendor_headers
from router.gates.retries import Retries
from router.gates.silence import Silence
from router.google_token import unasked
from router.layers.adapt import adapt
from router.layers.booking import Booking
from router.layers.cache import Policy, cache
from router.layers.dispatch import dispatch
from router.layers.guard import guard
from router.layers.observe import Record, observe
from router.layers.spend import no_units, spend
from router.ledger.budget import EACH, Budget, Kind, Scope
from router.ledger.ledger import Ledger
from router.plan import BY_UNIT, Backend, Effect, Gates, Hedge, Promise, Route
from router.prices import listed
from router.rules import RuleError, compile_rule
from router.secrets import Secret, SecretError, secret

Send = Callable[[Endpoint], Service]
"""Makes the leaf service, which does the HTTP."""
NO_KEYS = (
    "no keys are configured: everybody on this machine may call, and nobody else is served; "
    "`isocost keys create NAME` makes one"
)


class World(msgspec.Struct, frozen=True):
    """What a pipeline is built in: everything that is not in the configuration."""

    folder: Path
    """Relative paths of the configuration start here."""
    env: Mapping[str, str]
    now: Clock
    send: Send
    record: Record
    sandbox: bool = False
    """Backends whose key is not set may use their sandbox instead."""
    exchange: Mapping[str, float] = {}
    """USD per unit of other currencies; filled from the configuration."""
    ledger: Callable[[], Ledger | None] = lambda: None
    """Where money is kept, once it is open."""
    unreachable: Literal["refuse", "local_only"] = "refuse"
    """What to do while it is away; filled from the configuration."""
    leases: Callable[[], Leases | None] = lambda: None
    """Where replicas share the rates of keys, once it is open."""
    wall: Clock = time.time
    """Unix seconds, at which keys expire."""
    guarded: bool = False
    """Others than this machine can reach the router: nobody is served without a key."""
    token: Callable[[Path], Secret] = unasked
    """The token of a service account in a file."""


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
    faults: list[str] = []
    warnings: list[str] = []
    unreachable = config.ledger.unreachable if config.ledger else "refuse"
    world = msgspec.structs.replace(world, exchange=config.exchange, unreachable=unreachable)
    keys = _collect(faults, "keys", partial(_keys, config, world, old)) or Keys({})
    rates = old.rates if old else Rates(world.now)
    admission = old.admission if old else Process(world.now)
    backends: dict[str, Backend] = {}
    for name, spec in config.backends.items():
        made = _collect(faults, f"backends.{name}", partial(_backend, name, spec, world, old))
        if made is not None:
            backends[name] = made
    routes: dict[str, Route] = {}
    for name in config.routes:
        was = old.routes.get(name) if old else None
        make = partial(_route, name, backends, config, world.now, was)
        built = _collect(faults, f"routes.{name}", make)
        if built is not None:
            routes[name] = built
    doors = _collect(faults, "doors", partial(_doors, config)) or {}
    budgets: list[Budget] = []
    for index, wanted in enumerate(config.budgets):
        compiled = _collect(faults, f"budgets.{index}", partial(_budget, wanted, config))
        if compiled is not None:
            budgets.append(compiled)
    stores = _collect(faults, "cache", partial(_stores, config, world, old))
    if faults:
        raise ConfigError("\n".join(f"  {fault}" for fault in faults))
    # Gates that were carried over are in use: they change only once nothing can fail any more.
    _tune(config, backends, admission)
    stores.memory.resize(int(config.cache.max_mb * 1024 * 1024))
    policies = {
        name: _policy(spec.cache, routes[name], config)
        for name, spec in config.routes.items()
        if spec.cache is not None
    }
    if keys.open:
        warnings.append(NO_KEYS)
    service = stack(
        # Outermost, to see the refusals of every layer below.
        observe(world.record, world.now),
        # Who is it, and may it, and not too often: before anything that costs. Then what the route
        # learns from its answers, whichever backend gave them.
        _enter(keys, rates, routes, policies.keys(), world.now),
        # After this process's own rates: those cost nothing, and refuse most of what is too much.
        lease(world.leases),
        # After everything that asks who calls, before everything that asks what serving costs.
        *([cache(policies, stores, world.now, world.wall)] if policies else ()),
        # Before any backend is chosen, after all that answers without one.
        guard((admission,), world.now),
        # The one service that knows that backends are many.
        service=dispatch(routes, world.now),
    )
    statuses = tuple(
        (spec.status, spec.model, backends[name].gates)
        for name, spec in config.backends.items()
        if spec.status
    )
    tasks = {name: route.task for name, route in routes.items()}
    return Pipeline(
        config,
        service,
        routes,
        tasks,
        backends,
        keys,
        rates,
        doors,
        tuple(budgets),
        admission,
        statuses,
        stores,
        tuple(warnings),
    )


def _tune(config: Config, backends: Mapping[str, Backend], admission: Process) -> None:
    for name, spec in config.backends.items():
        gates = backends[name].gates
        gates.in_flight.limit, gates.meter.concurrency = spec.limits.in_flight, _concurrency(spec)
        if gates.admission is not None:
            gates.admission.resize(spec.limits.in_flight, _known(spec))
    allowed = config.server.admission
    admission.configure(allowed.in_flight, allowed.lag, adaptive=allowed.adaptive)


def _doors(config: Config) -> dict[tuple[str, Task], str]:
    """What the file says, and for each wire and task the one route that there is."""
    found: dict[tuple[str, Task], str] = {}
    for wire in apis.doors():
        for task in {path.task for path in apis.door(wire).paths}:
            routes = [name for name, spec in config.routes.items() if spec.task == task]
            if len(routes) == 1:
                found[wire, task] = routes[0]
    for wire, by_task in config.doors.items():
        tasks = {path.task for path in apis.door(wire).paths}
        for task, name in by_task.items():
            spec = config.routes.get(name)
            if task not in tasks:
                raise ConfigError(f"{wire}: has no {task}, only {', '.join(sorted(tasks))}")
            if spec is None or spec.task != task:
                raise ConfigError(f"{wire}.{task}: {name!r} is no route for {task}")
            found[wire, task] = name
    return found


def _budget(spec: BudgetConfig, config: Config) -> Budget:
    kinds: tuple[Kind, ...] = ("team", "key", "route", "backend")
    named = [(kind, name) for kind in kinds if (name := getattr(spec, kind)) is not None]
    if len(named) > 1:
        raise ConfigError("give one of team, key, route and backend, or none for all calls")
    # Keys and their teams may be in the store, which nobody asks here.
    for kind, known in (("route", config.routes), ("backend", config.backends)):
        name = getattr(spec, kind)
        if name not in {None, EACH} and name not in known:
            raise ConfigError(f"{kind}: {name!r} does not exist")
    scope = Scope(*named[0]) if named else Scope("global")
    return Budget(
        scope,
        spec.window,
        pico(spec.usd),
        spec.at_limit,
        tuple(share / 100 for share in spec.alerts),
        spec.zone,
    )


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


def _stores(config: Config, world: World, old: Pipeline | None) -> Stores:
    """The old ones, unless they are elsewhere now."""
    spec = config.cache
    url = spec.url
    if spec.url_env is not None:
        if url is not None:
            raise ConfigError("give url or url_env, not both")
        url = world.env.get(spec.url_env, "")
        if not url:
            raise ConfigError(f"url_env: environment variable {spec.url_env} is not set")
    if CACHE in config.backends and any(r.cache is not None for r in config.routes.values()):
        raise ConfigError(f"a backend is named {CACHE!r}, as the cache is in metrics: rename it")
    memory = old.stores.memory if old else Memory(0, world.now)
    where = None if url is None else sha256(f"{spec.timeout} {url}".encode()).digest()
    if old is not None and old.stores.where == where:
        return Stores(memory, old.stores.shared, world.now, world.wall, where)
    shared = None
    if url is not None:
        shared = Shared(connect(url, spec.timeout), spec.timeout, world.now)
    return Stores(memory, shared, world.now, world.wall, where)


UNANSWERING = {"limits", "breaker", "price", "status", "key_env", "key_file", "credentials_file"}
"""What of a backend's configuration cannot change an answer."""


def _policy(spec: RouteCacheConfig, route: Route, config: Config) -> Policy:
    """Answers of another configuration of the route have other names, so they are never given."""
    said = config.routes[route.name]
    parts = [said.model_dump_json(exclude={"cache", "promise", "failure", "baseline"})]
    for written in said.backends:
        parts.append(config.backends[written].model_dump_json(exclude=UNANSWERING))
    parts += [f"{b.name} {b.local}" for b in route.backends]
    return Policy(
        route=route,
        ttl=spec.ttl,
        stale=spec.stale or 0.0,
        shared=spec.scope == "shared",
        config=sha256("\n".join(parts).encode()).digest(),
    )


def _keys(config: Config, world: World, old: Pipeline | None) -> Keys:
    by_digest: dict[str, Key] = {}
    names = [spec.name for spec in config.keys]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"{', '.join(sorted(doubled))}: two keys have this name; budgets go by it"
        )
    for spec in config.keys:
        given = [w for w in (spec.key_env, spec.key_file, spec.sha256) if w]
        if len(given) != 1:
            raise ConfigError(f"{spec.name}: give exactly one of key_env, key_file and sha256")
        for route in spec.routes or ():
            if route not in config.routes:
                raise ConfigError(f"{spec.name}: route {route!r} does not exist")
        digest = spec.sha256
        if digest is None:
            value = secret(spec.key_env, spec.key_file, folder=world.folder, env=world.env)()
            if not value:
                raise ConfigError(f"{spec.name}: its secret is empty")
            digest = sha256(value.encode()).hexdigest()
        if digest in by_digest:
            raise ConfigError(f"{spec.name}: same secret as {by_digest[digest].name}")
        by_digest[digest] = _caller(spec)
    keys = Keys(by_digest, world.wall, guarded=world.guarded)
    keys.store = config.ledger is not None or bool(config.budgets)
    keys.stored = old.keys.stored if old else None
    return keys


def _caller(spec: KeyConfig) -> Key:
    routes = frozenset(spec.routes) if spec.routes is not None else None
    if spec.tasks is None and spec.expires is None and spec.rates == type(spec.rates)():
        return Key(spec.name, spec.team, frozenset(spec.tags), routes, spec.criticality)
    expires = spec.expires
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return Caller(
        spec.name,
        spec.team,
        frozenset(spec.tags),
        routes,
        spec.criticality,
        tasks=frozenset(spec.tasks) if spec.tasks is not None else None,
        limits=Limits(spec.rates.requests, spec.rates.units),
        until=expires.timestamp() if expires is not None else float("inf"),
    )


def _concurrency(spec: BackendConfig) -> int:
    return _known(spec) or spec.limits.in_flight


def _known(spec: BackendConfig) -> int:
    """Calls that are said to be served together; 0 when nobody says."""
    return (spec.price.concurrency if spec.price else None) or 0


def _admission(spec: BackendConfig, now: Clock, kept: Admission | None) -> Admission | None:
    adaptive = spec.limits.adaptive
    if adaptive is None:
        adaptive = spec.price is not None and spec.price.per_hour_usd is not None
    if not adaptive:
        return None
    return kept or Admission(now, ceiling=spec.limits.in_flight, concurrency=_known(spec))


def _gates(name: str, key: str, spec: BackendConfig, world: World, old: Pipeline | None) -> Gates:
    """Those of the backend *name* that ran before, else fresh ones; *key* names it in the file."""
    kept = next((b.gates for b in old.backends.values() if b.name == name), None) if old else None
    now = world.now
    if kept is not None:
        was = old.config.backends.get(key) if old else None
        admission = _admission(spec, now, kept.admission)
        if was is None or was.breaker != spec.breaker:
            breaker = Breaker(now, **spec.breaker.model_dump())
            return msgspec.structs.replace(kept, breaker=breaker, admission=admission)
        if admission is not kept.admission:
            return msgspec.structs.replace(kept, admission=admission)
        return kept
    return Gates(
        Breaker(now, **spec.breaker.model_dump()),
        Pause(now),
        Health(now, awaited=spec.status is not None),
        InFlight(spec.limits.in_flight),
        Meter(now, concurrency=_concurrency(spec)),
        Retries(now),
        Silence(now),
        _admission(spec, now, None),
    )


def _backend(name: str, spec: BackendConfig, world: World, old: Pipeline | None) -> Backend:
    """The stack of one backend: built once, run once per attempt."""
    api, written = apis.load(spec.api), name
    base, key_env = (spec.base or api.base).rstrip("/"), spec.key_env
    if not base:
        raise ConfigError(f"base: is missing; {spec.api} has no address of its own")
    unset = key_env is not None and not world.env.get(key_env)
    if unset and spec.sandbox and world.sandbox:
        name, base = f"{name}-sandbox", spec.sandbox.base.rstrip("/")
        key: Secret = lambda: "sk-sandbox-isocost"  # noqa: E731
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
    price = _price(spec, world.exchange)
    local = spec.local if spec.local is not None else spec.api == "torchserve"
    gates = _gates(name, written, spec, world, old)
    abilities = _abilities(spec)
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
        abilities.voice,
        trace=local if spec.trace is None else spec.trace,
    )
    by_unit = bool(tasks & BY_UNIT)
    bound = partial(_bound, spoken, spec.model) if by_unit else no_units
    booking = Booking(world.ledger, written, spec.api, spec.model, world.unreachable)
    service = stack(
        guard(
            (
                # Breaker first: an open one must cost neither a slot nor a reservation.
                gates.breaker,
                gates.health,
                gates.pause,
                # Slots before money: no reservation for a call that cannot be sent. The adaptive
                # limit first: it knows who is to be refused, and is never above the other.
                *(() if gates.admission is None else (gates.admission,)),
                gates.in_flight,
            ),
            world.now,
        ),
        # Money last of those that refuse: other replicas see its effect.
        spend(price, gates.meter, world.now, bound, booking),
        # Meter innermost: it times the backend, not our own gates.
        guard((gates.meter,), world.now),
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
        price=price,
        local=local,
        tags=frozenset(spec.tags) | own,
        context=spec.context,
        gates=gates,
        service=service,
        abilities=abilities,
    )


def _bound(api: Api, model: str, call: Call) -> Usage | None:
    return api.units(call, model) if call.task in BY_UNIT else None


def _abilities(spec: BackendConfig) -> Abilities:
    languages = spec.languages
    return Abilities(
        spec.voices,
        None if languages.source is None else frozenset(t.lower() for t in languages.source),
        None if languages.target is None else frozenset(t.lower() for t in languages.target),
        None if spec.features is None else frozenset(spec.features),
    )


def _price(spec: BackendConfig, exchange: Mapping[str, float]) -> Price:
    given = spec.price
    if given is None:
        found = listed(spec.api, spec.model, exchange)
        if found is None:
            raise ConfigError(
                f"price: no list has a price for model {spec.model!r} of {spec.api}; write one, "
                "such as {input_usd_per_mtok: 0.15, output_usd_per_mtok: 0.6} or {per_hour_usd: 1}"
            )
        return found
    if given.per_hour_usd is not None and (
        given.model_dump(exclude={"per_hour_usd", "concurrency"}, exclude_defaults=True)
    ):
        raise ConfigError("price: give per_hour_usd or prices per unit, not both")
    cached = given.cached_usd_per_mtok
    return Price(
        input_token=pico(given.input_usd_per_mtok) // 10**6,
        output_token=pico(given.output_usd_per_mtok) // 10**6,
        cached_token=pico(given.input_usd_per_mtok if cached is None else cached) // 10**6,
        written_token=pico(given.cache_write_usd_per_mtok or 0) // 10**6,
        call=pico(given.per_call_usd),
        machine_second=pico(given.per_hour_usd or 0) // 3600,
        character=pico(given.per_million_characters_usd) // 10**6,
        credit=pico(given.per_thousand_credits_usd) // 1000,
        second=pico(given.per_minute_usd) // 60,
        audio_input_token=pico(given.audio_input_usd_per_mtok) // 10**6,
        audio_output_token=pico(given.audio_output_usd_per_mtok) // 10**6,
        features={f: pico(p) // 1000 for f, p in given.per_thousand_images_usd.items()},
        source="configuration",
    )


def _hedge(spec: RouteConfig, now: Clock, was: Route | None) -> Hedge | None:
    wanted = spec.failure.hedge
    if wanted is None:
        return None
    share = wanted.percent / 100
    allowance = (
        was.hedge.allowance if was and was.hedge else Retries(now, per_second=0.0, ceiling=10.0)
    )
    allowance.share = share
    quantile = wanted.quantile
    if quantile is None:
        return Hedge(allowance, after=float(wanted.after), paid_twice=wanted.paid_twice)
    return Hedge(allowance, quantile=quantile, paid_twice=wanted.paid_twice)


def _route(
    name: str, backends: dict[str, Backend], config: Config, now: Clock, was: Route | None
) -> Route:
    """*was*: the route of that name before a reload, whose memory is kept."""
    spec = config.routes[name]
    for wanted in (*spec.backends, *([spec.baseline] if spec.baseline else [])):
        if wanted not in config.backends:
            known = ", ".join(config.backends)
            raise ConfigError(f"backends: {wanted!r} does not exist; known: {known}")
    # A backend with a fault of its own is reported there.
    mine = [backends[b] for b in spec.backends if b in backends]
    for backend in mine:
        if spec.task not in backend.tasks:
            can = ", ".join(sorted(backend.tasks))
            raise ConfigError(f"backends: {backend.name} cannot do {spec.task}, only {can}")
    models = sorted({b.model for b in mine})
    if spec.task == "embed" and len(models) > 1 and not spec.mixed_vectors:
        raise ConfigError(
            f"backends: {' and '.join(models)} make vectors that cannot be compared; use one "
            "route per model, or say mixed_vectors: true"
        )
    usd_per_second = worth(spec.objective)
    promise = spec.promise
    paid = [b for b in mine if not b.price.free]
    baseline = backends.get(spec.baseline) if spec.baseline else (paid[0] if paid else None)
    return Route(
        name=name,
        task=spec.task,
        backends=tuple(mine),
        forecast=was.forecast if was else Forecast(),
        deadline=promise.deadline,
        output_limit=spec.max_output_tokens,
        seconds_worth=None if usd_per_second is None else pico(usd_per_second),
        promise=Promise(
            _quantile(promise.first_event),
            _quantile(promise.answer),
            None if promise.max_cost_usd is None else pico(promise.max_cost_usd),
        ),
        rules=_rules(spec, mine, {b: backends[b] for b in spec.backends if b in backends}),
        attempts=spec.failure.attempts,
        retries=spec.failure.retries,
        hedge=_hedge(spec, now, was),
        resume=spec.failure.on_broken_stream == "continue",
        baseline=baseline,
    )


def _quantile(spec: QuantileConfig | None) -> tuple[float, float] | None:
    if spec is None:
        return None
    given = {name: value for name, value in spec.model_dump().items() if value is not None}
    if len(given) != 1:
        raise ConfigError("promise: give exactly one quantile, such as {p95: 1s}")
    name, seconds = next(iter(given.items()))
    return int(name[1:]) / 100, seconds


def _rules(
    spec: RouteConfig, mine: list[Backend], named: dict[str, Backend]
) -> Callable[[Call], tuple[Effect, ...]]:
    compiled = []
    for index, rule in enumerate(spec.rules):

        def resolve(wanted: list[str], at: int = index) -> frozenset[str]:
            out: set[str] = set()
            for word in wanted:
                by_tag = {b.name for b in mine if word in b.tags}
                known = word in spec.backends or by_tag or word in {"local_only", "local"}
                if not known:
                    raise ConfigError(
                        f"rules.{at}: {word!r} is no backend of this route and no tag of one"
                    )
                out |= by_tag | ({named[word].name} if word in named else set())
            return frozenset(out)

        effect = Effect(
            rule.when,
            resolve(rule.prefer),
            resolve(rule.exclude),
            resolve(rule.require) if rule.require is not None else None,
        )
        if not (rule.prefer or rule.exclude or rule.require):
            raise ConfigError(f"rules.{index}: says nothing; give prefer, exclude or require")
        binding = bool(rule.exclude or rule.require)
        try:
            compiled.append((compile_rule(rule.when, on_failure=binding), effect))
        except RuleError as exc:
            raise ConfigError(f"rules.{index}.when: {exc}") from None

    if not compiled:
        return lambda call: ()

    def effects(call: Call) -> tuple[Effect, ...]:
        return tuple([effect for holds, effect in compiled if holds(call)])

    return effects
