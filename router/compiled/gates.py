"""The gates of one backend: they outlive a reload, but for a breaker that is set otherwise."""

from __future__ import annotations

import msgspec

from router.config import BackendConfig
from router.core.gate import Clock
from router.gates.admission import Admission
from router.gates.breaker import Breaker
from router.gates.health import Health
from router.gates.in_flight import InFlight
from router.gates.meter import Meter
from router.gates.pause import Pause
from router.gates.retries import Retries
from router.gates.silence import Silence
from router.route import Gates


def concurrency(spec: BackendConfig) -> int:
    """Calls that it serves together, as far as anybody says."""
    return known(spec) or spec.limits.in_flight


def known(spec: BackendConfig) -> int:
    """Calls that are said to be served together; 0 when nobody says."""
    return (spec.price.concurrency if spec.price else None) or 0


def _admission(spec: BackendConfig, now: Clock, kept: Admission | None) -> Admission | None:
    adaptive = spec.limits.adaptive
    if adaptive is None:
        adaptive = spec.price is not None and spec.price.per_hour_usd is not None
    if not adaptive:
        return None
    return kept or Admission(now, ceiling=spec.limits.in_flight, concurrency=known(spec))


def gates(spec: BackendConfig, now: Clock, kept: Gates | None, was: BackendConfig | None) -> Gates:
    """Those that ran before (*kept*, by the configuration *was*), else fresh ones."""
    if kept is not None:
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
        Meter(now, concurrency=concurrency(spec)),
        Retries(now),
        Silence(now),
        _admission(spec, now, None),
    )
