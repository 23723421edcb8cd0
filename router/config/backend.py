"""One backend: where it is, what it costs, what it can do, how much it takes."""

from __future__ import annotations

from pydantic import Field

from router.config.fields import Names, Seconds, Strict
from router.core.task import Task


class PriceConfig(Strict):
    """What a backend costs. Without it the price lists are asked; an unknown price refuses."""

    per_hour_usd: float | None = Field(
        default=None, ge=0, description="USD per hour of the machine"
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="calls the machine serves together"
    )
    input_usd_per_mtok: float = Field(default=0, ge=0, description="USD per million input tokens")
    cached_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="USD per million cached ones"
    )
    cache_write_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="USD per million input tokens newly kept in its cache"
    )
    output_usd_per_mtok: float = Field(default=0, ge=0, description="USD per million output tokens")
    audio_input_usd_per_mtok: float = Field(
        default=0, ge=0, description="USD per million input tokens of audio"
    )
    audio_output_usd_per_mtok: float = Field(
        default=0, ge=0, description="USD per million output tokens of audio"
    )
    per_million_characters_usd: float = Field(
        default=0, ge=0, description="USD per million characters (code points)"
    )
    per_thousand_credits_usd: float = Field(
        default=0, ge=0, description="USD per thousand credits of the vendor"
    )
    per_minute_usd: float = Field(default=0, ge=0, description="USD per minute of audio")
    per_thousand_images_usd: dict[str, float] = Field(
        default={}, description="USD per thousand images, by feature"
    )
    per_call_usd: float = Field(default=0, ge=0, description="USD per call")


class LimitsConfig(Strict):
    """What a backend may be asked at once."""

    in_flight: int = Field(
        default=256, ge=1, description="calls in flight at most; more are refused"
    )
    connect: Seconds = Field(default=5.0, description="longest wait for a connection")
    first_event: Seconds | None = Field(
        default=None, description="longest silence before a first event"
    )
    idle: Seconds | None = Field(
        default=30.0, description="longest silence between two pieces of a stream"
    )
    adaptive: bool | None = Field(
        default=None,
        description="fewer while it becomes slower; if unset, on when priced by the hour",
    )


class BreakerConfig(Strict):
    """When to stop calling a backend, see docs/routing.md."""

    in_a_row: int = Field(default=5, ge=1)
    window: Seconds = 20.0
    least: int = Field(default=20, ge=1)
    share: float = Field(default=0.5, gt=0, le=1)
    slow: Seconds | None = Field(
        default=None, description="a slower answer, or first event, counts as bad"
    )
    cooldown: Seconds = 5.0
    cooldown_max: Seconds = 60.0
    probe_every: Seconds = Field(
        default=20.0, description="while it is open, one call alone may try so often"
    )
    probes: int = Field(default=3, ge=1, le=100, description="good calls that close it again")


class LanguagesConfig(Strict):
    """BCP 47 tags; `en` stands for all regions of English. Left out: not limited."""

    source: list[str] | None = None
    target: list[str] | None = None


class SandboxConfig(Strict):
    """A stand-in of the vendor. Used only when `--sandbox` is given and the key is not set."""

    base: str


class BackendConfig(Strict):
    """One place that can serve: api + base + model + price."""

    api: str = Field(
        description="wire format: openai, torchserve, elevenlabs, deepl, google_vision, "
        "google_speech"
    )
    model: str = Field(description="the model's name at the backend")
    base: str | None = Field(default=None, description="base URL; the vendor's own when left out")
    key_env: str | None = Field(default=None, description="environment variable that holds the key")
    key_file: str | None = Field(default=None, description="file that holds the key; may change")
    credentials_file: str | None = Field(
        default=None, description="service account of Google; its tokens are renewed in time"
    )
    price: PriceConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    breaker: BreakerConfig = BreakerConfig()
    tasks: list[Task] | None = Field(
        default=None, description="tasks it serves; all of its api's if unset"
    )
    tags: Names = Field(default_factory=list)
    local: bool | None = Field(
        None, description="data stays in house; true for torchserve, else false unless said"
    )
    context: int = Field(default=0, ge=0, description="tokens in and out together; 0: not limited")
    voices: dict[str, str] | None = Field(
        default=None,
        description="voice as clients name it: the backend's own; `*` for all others",
    )
    languages: LanguagesConfig = LanguagesConfig()
    features: list[str] | None = Field(
        default=None, description="features of images that it knows; not limited if unset"
    )
    status: str | None = Field(
        default=None, description="URL of the status page of `python -m serving`"
    )
    sandbox: SandboxConfig | None = None
    trace: bool | None = Field(
        default=None, description="its requests carry the trace; true for local ones unless said"
    )
