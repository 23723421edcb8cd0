"""What the four commands do and say; each returns the exit status."""

import json
import sys
from pathlib import Path

from model_store.archive import differences, read_record
from model_store.entry import Engine, Entry
from model_store.errors import CatalogError, StoreError
from model_store.listing import rows, table
from model_store.load import choose, load_catalog
from model_store.loaded import ask_supervisor
from model_store.pack import Packed, Places, pack


def show(places: Places, names: list[str], *, status_port: int, as_json: bool) -> int:
    """The catalog as a table, or as JSON; what is loaded is asked of the supervisor."""
    entries = load_catalog(places.catalog)
    wanted = {choose(entries, name, None)[0].name for name in names} or set(entries)
    chosen = [entry for entry in entries.values() if entry.name in wanted]
    found = rows(chosen, places, ask_supervisor(status_port))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        table(found)
    return 0


def pack_all(places: Places, names: list[str], engine: Engine | None, *, force: bool) -> int:
    """Pack the named models, or the default ones; one that fails does not hold up the others."""
    entries = load_catalog(places.catalog)
    chosen = names or [name for name, entry in entries.items() if entry.default]
    if not chosen:
        raise CatalogError(
            f"No entry of {places.catalog} is marked `default: true`; name the models to pack."
        )
    status = 0
    for entry, meant in [choose(entries, name, engine) for name in chosen]:
        try:
            _say(pack(entry, meant, places, force=force), entry)
        except StoreError as error:
            print(f"{entry.archive_name(meant)}: {error}", file=sys.stderr)
            status = 1
    return status


def _say(packed: Packed, entry: Entry) -> None:
    megabytes = packed.file.stat().st_size / 1e6
    did = f"packed in {packed.seconds:.1f} s" if packed.changed else "unchanged"
    print(f"{packed.name}: {did}, {megabytes:.0f} MB, {readable(packed.file)}")
    if packed.changed and not entry.pinned:
        revision = read_record(packed.file).about.get("revision")
        at = f" (commit {revision})" if revision else ""
        print(
            f"{packed.name}: its source is not pinned by checksums; "
            f"what it held today was packed{at}."
        )


def verify(places: Places, names: list[str], engine: Engine | None) -> int:
    """Compare archives with their own lists of checksums."""
    chosen = [_archive_name(places, name, engine) for name in names]
    chosen = chosen or sorted(file.stem for file in places.archives.glob("*.mar"))
    if not chosen:
        print(f"There are no archives in {readable(places.archives)}.")
    status = 0
    for name in chosen:
        file = places.archive(name)
        try:
            wrong = differences(file)
        except StoreError as error:
            wrong = [str(error)]
        for line in wrong:
            print(f"{name}: {line}", file=sys.stderr)
        if wrong:
            status = 1
        else:
            print(f"{name}: all {len(read_record(file).files)} files are as they were packed")
    return status


def remove(places: Places, names: list[str], engine: Engine | None) -> int:
    """Delete archives."""
    status = 0
    for name in [_archive_name(places, name, engine) for name in names]:
        file = places.archive(name)
        if file.is_file():
            file.unlink()
            places.archives.joinpath(f".{name}.lock").unlink(missing_ok=True)
            print(f"{name}: removed {readable(file)}")
        else:
            print(f"{name}: there is no archive {readable(file)}", file=sys.stderr)
            status = 1
    return status


def _archive_name(places: Places, name: str, engine: Engine | None) -> str:
    """An archive's name; also of archives whose entry has left the catalog."""
    if engine is None and places.archive(name).is_file():
        return name
    entry, meant = choose(load_catalog(places.catalog), name, engine)
    return entry.archive_name(meant)


def readable(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
