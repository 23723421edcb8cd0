"""One route: its backends, what it promises, what follows a failure."""

from __future__ import annotations

from router.compiled.rules import rules
from router.config import Config, ConfigError, QuantileConfig, RouteConfig
from router.config import seconds_worth as worth
from router.core.gate import Clock
from router.core.money import pico
from router.gates.forecast import Forecast
from router.gates.retries import Retries
from router.route import Backend, Hedge, Promise, Route


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


def route(
    name: str, backends: dict[str, Backend], config: Config, now: Clock, was: Route | None
) -> Route:
    """*was*: the route of that name before a reload, whose memory is kept. Raises ConfigError."""
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
        rules=rules(spec, mine, {b: backends[b] for b in spec.backends if b in backends}),
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
