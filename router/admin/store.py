"""Which store the configuration names. It is the same for a router and for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL, Engine

from router.config import Config, ConfigError, LedgerConfig
from router.ledger.database import address, engine, there, upgrade
from router.secrets import named


def where(config: Config, env: Mapping[str, str], state: Path) -> URL | None:
    """The store's address; None when the configuration keeps none. Raises ConfigError.

    *state* is the folder of the router's own files, where the store is unless it has an address.
    """
    if config.ledger is None and not config.budgets:
        return None
    spec = config.ledger or LedgerConfig()
    said = env.get(spec.url_env, "") if spec.url_env else spec.url
    if spec.url_env and not said:
        raise ConfigError(f"ledger.url_env: environment variable {named(spec.url_env)} is not set")
    try:
        return address(said or f"sqlite:///{(state / 'ledger.db').absolute()}")
    except ValueError as exc:
        raise ConfigError(f"ledger: {exc}") from exc


def existing(url: URL) -> Engine:
    """The store, where one was made. Raises ConfigError where not, and SQLAlchemyError."""
    if not there(url):
        raise ConfigError(
            f"{shown(url)}: no ledger there; a router makes it when it starts "
            "(--config and --state as for the router), or `isocost ledger migrate`"
        )
    return opened(url)


def shown(url: URL) -> str:
    """Where it is, without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def opened(url: URL) -> Engine:
    """The store, brought up to date or made. Raises SQLAlchemyError when it is away."""
    upgrade(url)
    return engine(url)
