"""Folders that take long to make, made once and kept: downloads and conversions.

A folder is built under another name, in the same place, and renamed when it is whole; so a folder
that is there is complete, whatever was interrupted before. Of two processes that want the same
folder one builds it and the other waits (a lock file beside it).
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from model_store.errors import StoreError


def cache_folder() -> Path:
    """`ISOCOST_CACHE`, or `~/.cache/isocost`."""
    named = os.environ.get("ISOCOST_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "isocost"


def made_once(folder: Path, make: Callable[[Path], None], *, again: bool = False) -> Path:
    """The folder, made by `make(empty folder)` unless it is there; `again` makes a fresh one.

    Raises: StoreError where the disk refuses; whatever `make` raises, leaving nothing behind.
    """
    if folder.is_dir() and not again:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.is_dir() and not again:
                return folder
            _make(folder, make)
    except OSError as error:
        raise StoreError(
            f"Cannot write {folder}: {error}. Free space, or set ISOCOST_CACHE."
        ) from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    part = folder.with_name(folder.name + ".part")
    # The lock is ours: a part that is there was left by a process that was interrupted.
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        make(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
