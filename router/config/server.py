"""The process itself: where it listens, how much it takes, what it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from router.config.fields import Seconds, SomeSeconds, Strict


class AdminConfig(Strict):
    """The admin API, on a port of its own, see docs/admin.md."""

    host: str = "127.0.0.1"
    port: int = Field(default=8079, ge=0, le=65535)
    key_env: str | None = Field(default=None, description="environment variable with its key")
    key_file: str | None = Field(default=None, description="file with its key; may change")


class AdmissionConfig(Strict):
    """How many calls one process serves at once, see docs/admission.md."""

    in_flight: int = Field(default=2048, ge=1, description="calls in progress at most")
    adaptive: bool = Field(default=True, description="fewer while the process is too busy")
    lag: Seconds = Field(
        default=0.05, description="wait for the process's turn from which on it is too busy"
    )


class ServerConfig(Strict):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    body_limit_mb: float = Field(default=16, gt=0)
    media_limit_mb: float = Field(
        default=40, gt=0, description="the same for calls that carry audio or images"
    )
    grace: SomeSeconds = Field(
        default=30.0, description="seconds for calls under way once it is told to stop"
    )
    drain_delay: SomeSeconds = Field(
        default=0.0,
        description="seconds that it serves on before, not ready, for load balancers to notice",
    )
    decisions: int = Field(default=1000, ge=0, description="decision records kept in memory")
    admission: AdmissionConfig = AdmissionConfig()
    connections: int = Field(
        default=4096, ge=1, description="open at most; requests on more are refused"
    )
    bodies_mb: float = Field(
        default=512, gt=0, description="MiB of all bodies under way; more are refused"
    )
    log: Literal["text", "json"] = Field(default="text", description="form of the log's lines")
    log_calls: bool = Field(default=False, description="one line of the log for each call")
    admin: AdminConfig | None = Field(default=None, description="the admin API is served if set")


class TracingConfig(Strict):
    """Where traces go, see docs/observability.md; what is left out is told by OTEL_* variables."""

    endpoint: str | None = Field(
        default=None,
        pattern="^https?://",
        description="OTLP over HTTP, such as http://collector:4318/v1/traces",
    )
    service: str | None = Field(
        default=None, min_length=1, description="name of this service; isocost if nobody says"
    )
    sample: float | None = Field(
        default=None, ge=0, le=1, description="share of the calls that bring no trace of their own"
    )
    callers: Literal["follow", "ignore"] = Field(
        default="follow", description="whether a caller's traceparent is taken"
    )
