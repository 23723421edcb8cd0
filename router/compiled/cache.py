"""Where answers are kept, and which of a route's."""

from __future__ import annotations

from hashlib import sha256

from router.cache.memory import Memory
from router.cache.redis import Shared, connect
from router.cache.stores import Stores
from router.compiled.world import World
from router.config import Config, ConfigError, RouteCacheConfig
from router.core.reply import CACHE
from router.layers.cache import Policy
from router.route import Route

UNANSWERING = {"limits", "breaker", "price", "status", "key_env", "key_file", "credentials_file"}
"""What of a backend's configuration cannot change an answer."""


def stores(config: Config, world: World, old: Stores | None) -> Stores:
    """The *old* ones, unless they are elsewhere now. Raises ConfigError."""
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
    memory = old.memory if old else Memory(0, world.now)
    where = None if url is None else sha256(f"{spec.timeout} {url}".encode()).digest()
    if old is not None and old.where == where:
        return Stores(memory, old.shared, world.now, world.wall, where)
    shared = None
    if url is not None:
        shared = Shared(connect(url, spec.timeout), spec.timeout, world.now)
    return Stores(memory, shared, world.now, world.wall, where)


def policy(spec: RouteCacheConfig, route: Route, config: Config) -> Policy:
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
