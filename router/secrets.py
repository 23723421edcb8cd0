"""Secrets come from the environment or from files, and are only ever handed to the wire."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from router.core.gate import Clock
from router.google_token import unasked

Secret = Callable[[], str]
"""Reads a secret now; "" when there is none yet."""


_NAME = re.compile(r"[A-Z_][A-Z0-9_]*|[A-Za-z_][A-Za-z0-9_]{0,23}")
LOOK = 0.25
"""Seconds between two looks at a file: a system call per request would cost more than the plan."""


class SecretError(ValueError):
    """A secret cannot be had. The message names where it was looked for, never its value."""


def secret(
    key_env: str | None,
    key_file: str | None,
    credentials_file: str | None = None,
    *,
    folder: Path,
    env: Mapping[str, str],
    now: Clock = time.monotonic,
    token: Callable[[Path], Secret] = unasked,
) -> Secret:
    """A reader of the secret in environment variable *key_env* or in *key_file*.

    Or of the *token* of the service account in *credentials_file*.

    A file may change and may come later (TorchServe makes a new key at each start): it is read
    again when its modification time changes. Raises SecretError.
    """
    if sum(map(bool, (key_env, key_file, credentials_file))) > 1:
        raise SecretError("give one of key_env, key_file, credentials_file, not both")
    if credentials_file:
        return token(folder / credentials_file)
    if key_env:
        value = env.get(key_env, "").strip()
        if not value:
            raise SecretError(f"key_env: environment variable {named(key_env)} is not set")
        return lambda: value
    if key_file:
        return _file(folder / key_file, now)
    return lambda: ""


def named(variable: str) -> str:
    """The name of an environment variable, unless it looks like what should be in it."""
    return variable if _NAME.fullmatch(variable) else "(that is no name: is it the secret itself?)"


def _file(path: Path, clock: Clock) -> Secret:
    seen, value, next_look = -1, "", 0.0

    def read() -> str:
        nonlocal seen, value, next_look
        now = clock()
        if value and now < next_look:
            return value
        next_look = now + LOOK
        try:
            stamp = path.stat().st_mtime_ns
            if stamp != seen:
                value, seen = path.read_text().strip(), stamp
        except (OSError, UnicodeDecodeError):
            seen, value = -1, ""
        return value

    return read
