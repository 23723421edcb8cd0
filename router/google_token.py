"""OAuth tokens of Google's service accounts, always ready before they are needed (google-auth).

A token is asked for in a thread of its own: the first one when its file is first read, each next
one long before the old one ends. A call only ever reads what is there. While none can be had there
is none: the vendor then refuses the call, nothing is billed, and another backend is tried.

    look()   once a second, by the runtime: starts a renewal where one is due
    wait()   at the start of the process, for the first ones

Source: RFC 7523; https://developers.google.com/identity/protocols/oauth2/service-account, read
2026-11-23.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from calendar import timegm
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from router.core.gate import Clock

log = logging.getLogger("isocost")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EARLY = 600.0
"""Seconds before its end from which a token is renewed, a quarter of its life at most."""
PATIENCE = 10.0
"""Seconds that one question to the token's server may take."""
_SIGNED = re.compile(r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}(\.[A-Za-z0-9_-]+)?")
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between one failure and the next try."""


class CredentialsError(ValueError):
    """The file is no service account's. The message names the file, never what is in it."""


class Token:
    """The token of one service account. Times are Unix seconds. Raises CredentialsError."""

    def __init__(self, path: Path, *, now: Clock = time.time) -> None:
        self._name, self._now = path.name, now
        self._account = _account(path)
        self._value, self._ends, self._due = "", 0.0, 0.0
        self._failures = 0
        self._busy = threading.Lock()
        self._tried = threading.Event()
        self.look()

    def __call__(self) -> str:
        """`Bearer ...`, or "" when there is none that still holds."""
        return self._value if self._now() < self._ends else ""

    def look(self) -> None:
        """Start a renewal when one is due and none is under way."""
        if self._now() >= self._due and self._busy.acquire(blocking=False):
            threading.Thread(target=self._renew, daemon=True, name="google-token").start()

    def wait(self, seconds: float) -> bool:
        """Whether the first try ended within *seconds*."""
        return self._tried.wait(seconds)

    def _renew(self) -> None:
        try:
            value, ends = _ask(self._account)
        except Exception as exc:  # noqa: BLE001 - whatever a library meets, the old token serves on
            pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
            self._failures += 1
            self._due = self._now() + pause
            log.warning("no token for %s, next try in %.0f s: %s", self._name, pause, _said(exc))
        else:
            self._failures = 0
            now = self._now()
            # The value last: whoever reads it finds an end that is not before its own.
            self._due = ends - min(EARLY, max(ends - now, 0.0) / 4)
            self._ends, self._value = ends, f"Bearer {value}"
        finally:
            self._busy.release()
            self._tried.set()


class Tokens:
    """The tokens in use, one for each file: a reload finds those that it had."""

    def __init__(self, *, now: Clock = time.time) -> None:
        self._now = now
        self._by_file: WeakValueDictionary[tuple[Path, int], Token] = WeakValueDictionary()

    def of(self, path: Path) -> Token:
        """The token of the account in file *path*. Raises CredentialsError."""
        try:
            key = path, path.stat().st_mtime_ns
        except OSError as exc:
            raise CredentialsError(
                f"credentials_file: {path} cannot be read: {exc.strerror}"
            ) from exc
        found = self._by_file.get(key)
        if found is None:
            found = self._by_file[key] = Token(path, now=self._now)
        return found

    def look(self) -> None:
        """Renew what is due."""
        for token in list(self._by_file.values()):
            token.look()

    def wait(self, seconds: float) -> None:
        """Until each has been asked for once, *seconds* at most."""
        until = time.monotonic() + seconds
        for token in list(self._by_file.values()):
            token.wait(max(0.0, until - time.monotonic()))


def unasked(path: Path) -> Callable[[], str]:
    """Check the account in file *path*, and ask nobody. Raises CredentialsError."""
    _account(path)
    return lambda: ""


def _account(path: Path) -> Any:
    # Loaded where it is used: half a second that no other installation has to wait for.
    from google.oauth2 import service_account  # noqa: PLC0415

    try:
        make: Any = service_account.Credentials.from_service_account_file
        return make(str(path), scopes=[SCOPE])
    except OSError as exc:
        raise CredentialsError(f"credentials_file: {path} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError):
        # What google-auth says may quote the file.
        raise CredentialsError(
            f"credentials_file: {path} is no service account's key in JSON; make one in the "
            "vendor's console (IAM, service accounts, keys)"
        ) from None


def _ask(account: Any) -> tuple[str, float]:
    """A new token, and when it ends."""
    from google.auth.transport.requests import Request  # noqa: PLC0415

    account.refresh(partial(Request(), timeout=PATIENCE))
    if not account.token or account.expiry is None:
        raise ValueError("the answer holds no token, or not when it ends")
    return account.token, float(timegm(account.expiry.timetuple()))


def _said(exc: Exception) -> str:
    """What can be told of a failure: its first sentence; what follows may hold the answer."""
    first = str(exc.args[0]) if exc.args else ""
    # It may quote the assertion, which opens the account for an hour.
    return f"{type(exc).__name__}: {_SIGNED.sub('[signed]', first)[:200]}"
