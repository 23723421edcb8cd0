"""The `.mar` file: a zip with the same bytes for the same content, and a list of checksums inside.

Names are sorted, times and permissions are fixed, nothing is compressed (weights do not shrink, and
TorchServe unpacks faster). `MAR-INF/ISOCOST.json`, written last, names each file with its size and
sha256, the stamp of the inputs and where the model came from.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model_store.errors import ArchiveError

RECORD = "MAR-INF/ISOCOST.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What an archive says about itself."""

    stamp: str
    about: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]


def write_archive(
    file: Path, content: Mapping[str, Path | bytes], stamp: str, about: Mapping[str, Any]
) -> None:
    """Write the archive in one step: a reader sees the old one or the whole new one.

    Raises: ArchiveError where the disk refuses.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            _write(stream, content, stamp, about)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        raise ArchiveError(f"Cannot write {file}: {error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _write(
    stream: IO[bytes], content: Mapping[str, Path | bytes], stamp: str, about: Mapping[str, Any]
) -> None:
    files: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            files[name] = _add(archive, name, content[name])
        record = {"stamp": stamp, "about": about, "files": files}
        _add(archive, RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def _add(archive: zipfile.ZipFile, name: str, source: Path | bytes) -> dict[str, Any]:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # unix; zipfile would write down the system it runs on
    info.external_attr = 0o100644 << 16
    info.file_size = source.stat().st_size if isinstance(source, Path) else len(source)
    hasher = hashlib.sha256()
    with archive.open(info, "w") as out:
        if isinstance(source, bytes):
            out.write(source)
            hasher.update(source)
        else:
            with source.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    out.write(chunk)
                    hasher.update(chunk)
    return {"sha256": hasher.hexdigest(), "size": info.file_size}


def read_record(file: Path) -> Record:
    """The archive's own account. Raises: ArchiveError for a file that is not such an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            raw = json.loads(archive.read(RECORD))
        return Record(stamp=raw["stamp"], about=raw["about"], files=raw["files"])
    except FileNotFoundError as error:
        raise ArchiveError(f"There is no archive {file}; pack the model first.") from error
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(
            f"{file} is not a whole archive of this program: {error}. Pack it again."
        ) from error


def differences(file: Path) -> list[str]:
    """One line for each file that is missing, too many, or not as it was packed; [] if all is well.

    Raises: ArchiveError.
    """
    record = read_record(file)
    lines: list[str] = []
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name != RECORD]
        lines += [
            f"{name} stands in it twice"
            for name in sorted({n for n in names if names.count(n) > 1})
        ]
        lines += [f"{name} is missing" for name in sorted(set(record.files) - set(names))]
        lines += [
            f"{name} was not packed with it" for name in sorted(set(names) - set(record.files))
        ]
        for name in sorted(set(names) & set(record.files)):
            lines += _difference(archive, name, str(record.files[name]["sha256"]))
    return lines


def _difference(archive: zipfile.ZipFile, name: str, expected: str) -> list[str]:
    hasher = hashlib.sha256()
    try:
        with archive.open(name) as stream:
            while chunk := stream.read(CHUNK):
                hasher.update(chunk)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return [f"{name} is damaged ({error})"]
    found = hasher.hexdigest()
    return (
        [] if found == expected else [f"{name} has sha256 {found[:12]}, packed was {expected[:12]}"]
    )
