"""One caller: its secret, what it may ask for, how often."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from router.config.fields import Names, Strict
from router.core.call import Criticality
from router.core.task import Task


class RatesConfig(Strict):
    """At most so many in any minute; not limited when left out."""

    requests: int | None = Field(default=None, ge=1, description="requests a minute")
    units: int | None = Field(
        default=None, ge=1, description="tokens, characters, seconds or images a minute"
    )


class KeyConfig(Strict):
    """A caller. Exactly one of key_env, key_file and sha256 says what its secret is."""

    name: str
    team: str = "default"
    tags: Names = Field(default_factory=list)
    routes: list[str] | None = None
    tasks: list[Task] | None = Field(default=None, description="tasks it may ask for; all if unset")
    rates: RatesConfig = RatesConfig()
    criticality: Criticality | None = Field(
        default=None, description="the highest that its calls may have; any if unset"
    )
    expires: datetime | None = Field(
        default=None, description="refused from then on; UTC when it names no zone"
    )
    key_env: str | None = None
    key_file: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
