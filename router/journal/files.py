"""The journal's files: their names, what is forgotten of them, and how they are read.

    <folder>/calls-<unix milliseconds>-<pid>.jsonl     begun then, by that process

A process writes one file at a time and holds a lock on it, which the kernel takes back when the
process ends, however it ends. A locked file is never removed; every other one is, from the oldest,
once it is too old or all of them together are too large. So the folder holds at most what may be
kept and one file of `Keep.file_bytes` for each process.
"""

from __future__ import annotations

import fcntl
import heapq
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from router.journal.record import Record, decode

log = logging.getLogger("isocost")
PATTERN = "calls-*.jsonl*"
DAY = 86400.0
LONGEST = DAY
"""Seconds that a call may take: none ends later after it was created."""


class Keep(msgspec.Struct, frozen=True):
    """How long records stay, and how many bytes of them."""

    days: float = 30.0
    bytes: int = 1024 * 1024 * 1024

    @property
    def file_bytes(self) -> int:
        """After so many a new file is begun: small steps when little may be kept."""
        return min(32 * 1024 * 1024, self.bytes // 16)


def name(now: float) -> str:
    return f"calls-{now * 1000:.0f}-{os.getpid()}.jsonl"


def begun(path: Path) -> float:
    """Unix seconds at which a file was begun; 0 when its name does not say."""
    parts = path.name.split("-")
    return int(parts[1]) / 1000 if len(parts) == 3 and parts[1].isdigit() else 0.0


def found(folder: Path) -> list[tuple[float, int, Path]]:
    """(last write, bytes, path) of every file, the oldest first."""
    files = []
    for path in folder.glob(PATTERN):
        with suppress(OSError):  # another process may be tidying too
            stat = path.stat()
            files.append((stat.st_mtime, stat.st_size, path))
    return sorted(files)


def forget(folder: Path, keep: Keep, now: float | None = None) -> int:
    """Remove what is too old or too much, but nothing that is being written. How many files."""
    now = time.time() if now is None else now
    files = found(folder)
    total, removed = sum(size for _, size, _ in files), 0
    for written, size, path in files:
        if written > now - keep.days * DAY and total <= keep.bytes:
            break
        if _remove(path):
            total, removed = total - size, removed + 1
    return removed


def _remove(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False  # somebody writes it, or we may not
    finally:
        os.close(fd)
    return True


def records(folder: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[Record]:
    """Records of all processes of calls created in this time, in the order in which they ended.

    One line of each file is in memory at a time. Lines that cannot be read are counted and logged;
    half a line at the end of a file is what a killed process left of a call that nobody was
    answered.
    """
    chosen = [
        path
        for written, _, path in found(folder)
        if written >= since and begun(path) <= until + LONGEST
    ]
    merged = heapq.merge(*[_lines(path) for path in chosen], key=lambda record: record.ended)
    return (record for record in merged if since <= record.created < until)


def _lines(path: Path) -> Iterator[Record]:
    strange = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # too old since it was listed
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                record = decode(line)
            except msgspec.DecodeError:
                strange += 1
                continue
            yield record
    if strange:
        log.warning("%s: %d lines are no records of this version", path, strange)
