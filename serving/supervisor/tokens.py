"""The tokens that callers from outside may show: one a line of a file that is read when it changes.

Two lines let a token be replaced while calls go on: write the new one beside the old, let the
callers change, take the old one away.
"""

import hmac
import time
from collections.abc import Callable
from pathlib import Path

SHORTEST = 16  # characters; a shorter one could be guessed
LOOK_SECONDS = 1.0


class TokenError(Exception):
    """The file of tokens cannot be used. The message never holds a token."""


class Tokens:
    """Answers `token in tokens` in a time that does not depend on how much of it is right."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises: TokenError where the file is missing, empty, or holds a token that is short."""
        self._file, self._clock = file, clock
        self._stamp, self._next_look = -1, 0.0
        self._tokens = self._read()

    def __contains__(self, token: object) -> bool:
        """Whether it is one of them now; a file that went bad keeps the last good ones."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            try:
                if self._file.stat().st_mtime_ns != self._stamp:
                    self._tokens = self._read()
            except (OSError, TokenError):
                pass
        given = str(token).encode()
        return sum(hmac.compare_digest(given, each) for each in self._tokens) > 0

    def _read(self) -> list[bytes]:
        try:
            stamp = self._file.stat().st_mtime_ns
            found = self._file.read_bytes().split()
        except OSError as error:
            raise TokenError(f"--key-file {self._file}: {error.strerror}") from error
        if not found or min(map(len, found)) < SHORTEST:
            raise TokenError(
                f"--key-file {self._file}: write one token of at least {SHORTEST} characters a line"
            )
        self._stamp = stamp
        return found
