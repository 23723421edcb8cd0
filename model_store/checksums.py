"""sha256 of files and folders."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from model_store.errors import ChecksumError, SourceError
from model_store.sources import Unpinned


def digest(file: Path) -> str:
    """sha256 of a file, as hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def names_inside(folder: Path) -> list[str]:
    """All files under the folder, but for hidden ones, as sorted paths with forward slashes."""
    found = (f.relative_to(folder) for f in folder.rglob("*") if f.is_file())
    return sorted(p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts))


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file under the folder, by path."""
    return {name: digest(folder / name) for name in names_inside(folder)}


def check_pinned(folder: Path, files: Mapping[str, str] | Unpinned, source: str) -> None:
    """Every pinned file is there with its bytes; what is not pinned is not looked at.

    Raises: SourceError for a file that is missing, ChecksumError for one that differs.
    """
    if isinstance(files, str):
        return
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise SourceError(
                f"{source} holds no file {name}, which its catalog entry lists under files."
            )
        found = digest(folder / name)
        if found != expected:
            raise ChecksumError(
                f"{source}: {name} has sha256 {found}, but its catalog entry pins {expected}; "
                "the source has changed, or was changed. Do not use it before knowing why."
            )
