"""Appends one line per call, which `kill -9` cannot take back.

A line is given to the kernel by one write as soon as its call has ended, on the loop: what was
written stays when the process dies in any way. Only a crash of the machine can lose the last
seconds, since nothing waits for the disk. No prompt and no answer is in a line.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from router.core.task import Request
from router.decisions import Decision
from router.journal.files import Keep, forget, found, name
from router.journal.record import decode, encode, made, prompt_hash, shown

log = logging.getLogger("isocost")
TIDY = 60.0
"""Seconds between two looks at what has to be forgotten."""
AGE = 86400.0
"""Seconds after which a new file is begun, so that the old one can be forgotten in time."""
FILES = 64
"""Files that are searched for a call, the newest first."""
TAIL = 2 * 1024 * 1024
"""Bytes of each file that are searched for a call."""


class Journal:
    """One per process. Opening it creates *folder*; `flush` once in a while, to tidy."""

    def __init__(
        self,
        folder: Path,
        keep: Keep | None = None,
        *,
        hashed: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """*hashed*: keep the SHA-256 of each text prompt."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._now = folder, now
        self._keep, self._hashed = keep or Keep(), hashed
        self._lost = 0
        self._open()
        forget(folder, self._keep, now())

    def configure(self, keep: Keep, *, hashed: bool) -> None:
        """Use these from now on."""
        self._keep, self._hashed = keep, hashed

    def _open(self) -> None:
        self._begun = self._tidied = self._now()
        stamp = self._begun
        while True:
            path = self._folder / name(stamp)
            try:
                # For the owner alone: who asked for what is nobody else's business.
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                break
            except FileExistsError:
                stamp += 0.001
        self.path = path
        with suppress(OSError):  # a file system without locks: then tidying may take it early
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0

    def write(self, decision: Decision, request: Request | None = None) -> None:
        """Append one record. It is the kernel's when this returns; a full disk fails no call."""
        prompt = prompt_hash(request) if self._hashed and request is not None else None
        line = encode(made(decision, prompt, self._now())) + b"\n"
        try:
            written = os.write(self._fd, line)
            if written < len(line):
                os.ftruncate(self._fd, self._size)
                raise OSError(28, "no space left for a whole record")  # noqa: TRY301
        except OSError as exc:
            if not self._lost:
                log.error("%s: records are lost: %s", self.path, exc.strerror)  # noqa: TRY400
            self._lost += 1
            return
        if self._lost:
            log.error("%s: %d records were lost", self.path, self._lost)
            self._lost = 0
        self._size += written
        if self._size >= self._keep.file_bytes:
            self._next()

    def _next(self) -> None:
        old = self._fd
        try:
            self._open()
        except OSError as exc:
            # The old file goes on: better one that is too long than a call that fails.
            log.error("%s: no new file: %s", self._folder, exc.strerror)  # noqa: TRY400
            self._size = 0
            return
        os.close(old)
        forget(self._folder, self._keep, self._now())

    def flush(self) -> None:
        """Forget what is too old, now and then. Nothing waits to be written."""
        now = self._now()
        if self._size and now - self._begun > AGE:
            self._next()
        elif now - self._tidied > TIDY:
            self._tidied = now
            forget(self._folder, self._keep, now)

    def find(self, call_id: str) -> dict[str, Any] | None:
        """The record of a call that any process wrote lately, as it is shown."""
        wanted = b'\n{"call_id":' + encode(call_id) + b","
        for _, size, path in reversed(found(self._folder)[-FILES:]):
            start = max(0, size - TAIL)
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    lines = file.read() if start else b"\n" + file.read()
            except FileNotFoundError:
                continue  # too old since it was listed
            at = lines.find(wanted) + 1
            end = lines.find(b"\n", at)
            # Half a line may be at either end.
            if at and end > 0:
                return shown(decode(lines[at:end]))
        return None

    def close(self) -> None:
        os.close(self._fd)
