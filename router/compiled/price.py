"""What a backend costs: by the file, else by the public list. An unknown price is refused."""

from __future__ import annotations

from collections.abc import Mapping

from router.config import BackendConfig, ConfigError
from router.core.money import Price, pico
from router.prices import listed


def price(spec: BackendConfig, exchange: Mapping[str, float]) -> Price:
    """*exchange*: USD per unit of other currencies. Raises ConfigError."""
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
