"""The whole file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from router.config.backend import BackendConfig
from router.config.callers import KeyConfig
from router.config.fields import Strict
from router.config.route import RouteConfig
from router.config.server import ServerConfig, TracingConfig
from router.config.stores import BudgetConfig, CacheConfig, JournalConfig, LedgerConfig
from router.core.task import Task


class Config(Strict):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    keys: list[KeyConfig] = Field(default_factory=list)
    exchange: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="USD per unit of other currencies, for lists in them"
    )
    ledger: LedgerConfig | None = Field(
        default=None, description="kept when it is here, or when there are budgets"
    )
    budgets: list[BudgetConfig] = Field(default_factory=list)
    journal: JournalConfig = JournalConfig()
    cache: CacheConfig = CacheConfig()
    tracing: TracingConfig | None = Field(default=None, description="calls are traced if set")
    doors: dict[str, dict[Task, str]] = Field(
        default_factory=dict,
        description="wire: task: the route of calls whose body has no place for one",
    )
    backends: dict[str, BackendConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)
