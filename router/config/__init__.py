"""The configuration file: strict, with every fault named by its path, its line and a suggestion.

Secrets are never written here: `key_env` names an environment variable, `key_file` a file.
The meaning of each field is in its description, which `isocost schema` exports for editors.
"""

from router.config.backend import BackendConfig
from router.config.callers import KeyConfig
from router.config.fields import ConfigError
from router.config.read import parse, read
from router.config.route import QuantileConfig, RouteCacheConfig, RouteConfig, seconds_worth
from router.config.server import AdminConfig, TracingConfig
from router.config.stores import BudgetConfig, LedgerConfig
from router.config.whole import Config

__all__ = [
    "AdminConfig",
    "BackendConfig",
    "BudgetConfig",
    "Config",
    "ConfigError",
    "KeyConfig",
    "LedgerConfig",
    "QuantileConfig",
    "RouteCacheConfig",
    "RouteConfig",
    "TracingConfig",
    "parse",
    "read",
    "seconds_worth",
]
