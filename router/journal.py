"""One line of JSON per call, in a file per process; the two newest files are kept.

    <folder>/calls-<pid>.jsonl, and .1 for the one before it

A line is one write, so that a reader never sees half of one. No prompt and no answer is in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

FILE_LIMIT = 32 * 1024 * 1024
"""Bytes after which a new file is begun."""
TAIL = 2 * 1024 * 1024
"""Bytes of each file that are searched for a call."""


class Journal:
    """Appends records. Opening it creates *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / f"calls-{os.getpid()}.jsonl"
        self._encode = msgspec.json.Encoder().encode
        self._open()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self._size += self._file.write(self._encode(record) + b"\n") or 0
        if self._size > FILE_LIMIT:
            self.close()
            self._path.replace(self._path.with_suffix(".jsonl.1"))
            self._open()

    def find(self, call_id: str) -> dict[str, Any] | None:
        """The record of a call that any process wrote lately."""
        wanted = b'"call_id":' + self._encode(call_id)
        for path in self._folder.glob("calls-*.jsonl*"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                for line in file:
                    if wanted in line:
                        found: dict[str, Any] = msgspec.json.decode(line)
                        return found
        return None

    def close(self) -> None:
        self._file.close()
