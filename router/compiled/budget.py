"""One budget, and whose calls it counts."""

from __future__ import annotations

from router.config import BudgetConfig, Config, ConfigError
from router.core.money import pico
from router.ledger.budget import EACH, Budget, Kind, Scope


def budget(spec: BudgetConfig, config: Config) -> Budget:
    """Raises ConfigError."""
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
