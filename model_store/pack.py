"""From a catalog entry to `archives/<model>.mar`: fetch, convert, write; or leave as it is."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from model_store.archive import read_record, write_archive
from model_store.cache import cache_folder
from model_store.convert import converted
from model_store.entry import Engine, Entry
from model_store.errors import ArchiveError
from model_store.fetch import fetch
from model_store.load import CATALOG
from model_store.recipe import SERVING, Kind, kind_for, model_config
from model_store.stamp import stamp

ARCHIVES = Path(__file__).parent / "archives"


@dataclass(frozen=True)
class Places:
    """The folders that packing reads and writes."""

    catalog: Path = CATALOG
    archives: Path = ARCHIVES
    serving: Path = SERVING
    cache: Path | None = None

    def archive(self, name: str) -> Path:
        """Where the archive of that name stands, packed or not."""
        return self.archives / f"{name}.mar"


@dataclass(frozen=True)
class Packed:
    """What packing did; `seconds` is the time it took."""

    name: str
    file: Path
    changed: bool
    seconds: float


def pack(entry: Entry, engine: Engine, places: Places, *, force: bool = False) -> Packed:
    """The entry's archive for that engine; `force` packs although nothing changed.

    Guarantee: the same inputs give the same bytes; two processes at once do the work once.
    Raises: StoreError.
    """
    begun = time.monotonic()
    name = entry.archive_name(engine)
    file = places.archive(name)
    wanted = stamp(entry, engine, places.catalog, places.serving)
    changed = force or not is_packed(file, wanted)
    if changed:
        places.archives.mkdir(parents=True, exist_ok=True)
        with FileLock(places.archives / f".{name}.lock"):
            changed = force or not is_packed(file, wanted)
            if changed:
                _write(entry, engine, places, wanted, again=force)
    return Packed(name, file, changed, time.monotonic() - begun)


def is_packed(file: Path, wanted: str) -> bool:
    """Whether the archive is there and was made from inputs with that stamp."""
    try:
        return file.is_file() and read_record(file).stamp == wanted
    except ArchiveError:
        return False


def _write(entry: Entry, engine: Engine, places: Places, wanted: str, *, again: bool) -> None:
    kind = kind_for(entry, places.serving)
    cache = places.cache or cache_folder()
    fetched = fetch(entry, cache, places.catalog, again=again)
    model = converted(entry, engine, fetched, cache)
    content: dict[str, Path | bytes] = {
        "MAR-INF/MANIFEST.json": _manifest(entry, engine, kind),
        "model-config.yaml": yaml.safe_dump(
            model_config(entry, engine, kind), sort_keys=True
        ).encode(),
    }
    content |= kind.worker_files(places.serving)
    content |= {f"model/{name}": file for name, file in model.items()}
    write_archive(
        places.archive(entry.archive_name(engine)), content, wanted, _about(entry, engine, fetched)
    )


def _manifest(entry: Entry, engine: Engine, kind: Kind) -> bytes:
    model = {
        "modelName": entry.archive_name(engine),
        "modelVersion": entry.version,
        "handler": kind.handler,
        "configFile": "model-config.yaml",
    }
    # A date would make two packs of the same inputs differ.
    return (json.dumps({"runtime": "python", "model": model}, indent=1) + "\n").encode()


def _about(entry: Entry, engine: Engine, fetched: Path) -> dict[str, Any]:
    revision = fetched / ".revision"
    about = {
        "name": entry.name,
        "engine": engine,
        "source": str(entry.source),
        "pinned": entry.pinned,
        "licence": entry.licence,
        "languages": list(entry.languages),
    }
    return about | ({"revision": revision.read_text(encoding="utf-8")} if revision.exists() else {})
