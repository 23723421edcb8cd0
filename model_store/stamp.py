"""One hash over all that decides an archive's bytes: equal stamps mean that nothing is to do.

It is made without the network and without loading a library: the catalog entry with its pins, the
worker's files, the versions of the converters. Unpinned sources of this machine are hashed file
by file; of those elsewhere nothing is known beforehand, so they are fetched anew by --force.
"""

import hashlib
import json
from pathlib import Path

from model_store.checksums import digests
from model_store.convert.converted import versions
from model_store.entry import Engine, Entry
from model_store.recipe import kind_for, model_config, worker_digests
from model_store.sources import Folder, TorchHub

FORMAT = 1  # counts up when the archive's layout changes, so that old archives are packed again


def stamp(entry: Entry, engine: Engine, catalog: Path, serving: Path) -> str:
    """Hash of the inputs, as hex. Raises: CatalogError, ArchiveError (recipe or worker files)."""
    kind = kind_for(entry, serving)
    inputs = {
        "format": FORMAT,
        "source": entry.source.model_dump(mode="json"),
        "licence": entry.licence,
        "handler": kind.handler,
        "config": model_config(entry, engine, kind),
        "smoothing": entry.engines[engine].smoothing,
        "worker": worker_digests(kind, serving),
        "versions": versions(),
        "local": _local(entry, catalog),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _local(entry: Entry, catalog: Path) -> dict[str, str]:
    source = entry.source
    if entry.pinned:
        return {}
    if isinstance(source, Folder):
        return digests(catalog / Path(source.path).expanduser())
    if isinstance(source, TorchHub) and source.local:
        return {k: v for k, v in digests(catalog / source.repo).items() if "__pycache__" not in k}
    return {}
