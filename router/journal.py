"""One line of JSON per call, in a file per process; the two newest files are kept.

    <folder>/calls-<pid>.jsonl, and .1 for the one before it

Records are written once a second, whole lines at a time. No prompt and no answer is in them.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from router.decisions import Decision

log = logging.getLogger("isocost")
FILE_LIMIT = 32 * 1024 * 1024
"""Bytes after which a new file is begun."""
PENDING = 256
"""Records kept back at most."""
FILES = 64
"""Files of other processes that are kept."""
TAIL = 2 * 1024 * 1024
"""Bytes of each file that are searched for a call."""


class Journal:
    """Appends records. Opening it creates *folder*; `flush` at least once a second."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / f"calls-{os.getpid()}.jsonl"
        _forget_old(folder)
        self._pending: list[Decision] = []
        self._encode = msgspec.json.Encoder().encode
        self._open()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, decision: Decision) -> None:
        """Append one record at the next flush: a write per call costs more than its plan."""
        self._pending.append(decision)
        if len(self._pending) >= PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, whole lines at once."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        lines = b"".join([self._encode(d.json()) + b"\n" for d in pending])
        try:
            self._file.write(lines)
        except OSError as exc:
            # A full disk must not fail the call whose record was the last straw.
            log.error("%s: %d records lost: %s", self._path, len(pending), exc.strerror)  # noqa: TRY400
            return
        self._size += len(lines)
        if self._size > FILE_LIMIT:
            self._file.close()
            self._path.replace(self._path.with_suffix(".jsonl.1"))
            self._open()

    def find(self, call_id: str) -> dict[str, Any] | None:
        """The record of a call that any process wrote lately."""
        self.flush()
        wanted = b'"call_id":' + self._encode(call_id)
        for path in self._folder.glob("calls-*.jsonl*"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                for line in file:
                    # The first line may have lost its head to the seek.
                    if wanted in line and line.startswith(b"{") and line.endswith(b"\n"):
                        found: dict[str, Any] = msgspec.json.decode(line)
                        return found
        return None

    def close(self) -> None:
        self.flush()
        self._file.close()


def _forget_old(folder: Path) -> None:
    """Files of processes that have ended stay until FILES newer ones are there."""
    ages: list[tuple[float, Path]] = []
    for path in folder.glob("calls-*.jsonl*"):
        with suppress(OSError):  # another process may be tidying too
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages, reverse=True)[FILES:]:
        path.unlink(missing_ok=True)
