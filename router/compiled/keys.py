"""Who may call, by the file."""

from __future__ import annotations

from datetime import UTC
from hashlib import sha256

from router.compiled.world import World
from router.config import Config, ConfigError, KeyConfig
from router.core.call import Key
from router.gates.key import Caller, Keys, Limits
from router.secrets import secret

NO_KEYS = (
    "no keys are configured: everybody on this machine may call, and nobody else is served; "
    "`isocost keys create NAME` makes one"
)


def keys(config: Config, world: World, old: Keys | None) -> Keys:
    """Those of the file; those of the store are known as they were to the *old* ones.

    Raises ConfigError, SecretError.
    """
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
    made = Keys(by_digest, world.wall, guarded=world.guarded)
    made.store = config.ledger is not None or bool(config.budgets)
    made.stored = old.stored if old else None
    return made


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
