"""What is kept, and where: money, records, answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from router.config.fields import Seconds, Strict


class BudgetConfig(Strict):
    """At most so much in each window; for one team, key, route or backend, or for all calls."""

    team: str | None = Field(default=None, description="`*`: each team for itself")
    key: str | None = None
    route: str | None = None
    backend: str | None = None
    window: str = Field(description="day, week, month, total, or a rolling one such as 24h")
    usd: Annotated[float, Field(ge=0)]
    at_limit: Literal["refuse", "local_only", "warn"] = "refuse"
    alerts: list[float] = Field(
        default=[50.0, 80.0, 100.0], description="percent of the limit at which the log is told"
    )
    zone: str = Field(default="UTC", description="time zone of day, week and month")


class LedgerConfig(Strict):
    """Where money is kept, see docs/ledger.md."""

    url: str | None = Field(
        default=None, description="sqlite:///FILE or postgresql://...; a file of the state folder"
    )
    url_env: str | None = Field(default=None, description="environment variable that holds it")
    unreachable: Literal["refuse", "local_only"] = "refuse"
    timeout: Seconds = 1.0
    allowance_usd: float = Field(
        default=0, ge=0, description="USD that a process may spend while it is away"
    )
    durable: bool = Field(default=False, description="SQLite: survive a loss of power, too")


class CacheConfig(Strict):
    """Where answers are kept, for routes that say `cache`, see docs/caching.md."""

    max_mb: float = Field(
        default=64, gt=0, description="MiB of answers in each process; the oldest unused go first"
    )
    url: str | None = Field(
        default=None, description="redis://... of a Redis or Valkey that replicas share"
    )
    url_env: str | None = Field(default=None, description="environment variable that holds it")
    timeout: Seconds = Field(default=0.05, description="longest wait for it")


class JournalConfig(Strict):
    """How long the records of calls stay, see docs/journal.md."""

    keep_days: float = Field(default=30, gt=0, description="days after which records are removed")
    keep_mb: float = Field(
        default=1024, ge=1, description="MiB of all files; the oldest are removed"
    )
    prompt_hash: bool = Field(
        default=False, description="keep the SHA-256 of the texts of each call, never the texts"
    )
