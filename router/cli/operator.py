"""The key of the admin API: what `check` and `serve` ask of it."""

from __future__ import annotations

import os
from pathlib import Path

from router.config import Config, ConfigError
from router.secrets import Secret, SecretError, secret


def operator_key(config: Config, folder: Path, *, port: int | None = None) -> Secret | None:
    """The key; None where no admin API is asked for, by the file or by a *port*.

    *folder*: where the configuration lies. Raises ConfigError when it could not be served.
    """
    spec = config.server.admin
    if spec is None and port is None:
        return None
    if spec is None or not (spec.key_env or spec.key_file):
        raise ConfigError(
            "  server.admin: the admin API needs a key of its own; write `admin: {key_env: NAME}` "
            "and set that variable"
        )
    if port is None and spec.port == config.server.port and spec.port:
        raise ConfigError("  server.admin.port: is that of the router; it needs one of its own")
    try:
        return secret(spec.key_env, spec.key_file, folder=folder, env=os.environ)
    except SecretError as exc:
        raise ConfigError(f"  server.admin: {exc}") from exc
