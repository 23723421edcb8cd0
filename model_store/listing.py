"""The catalog and the state of its archives, as rows for programs and as a table for people."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from model_store.checksums import digest
from model_store.entry import Engine, Entry
from model_store.errors import StoreError
from model_store.loaded import Loaded
from model_store.pack import Places, is_packed
from model_store.stamp import stamp

MOST_TAGS = 4  # more are counted


def rows(entries: Sequence[Entry], places: Places, loaded: Loaded) -> list[dict[str, Any]]:
    """One row for each model and engine it can be packed for."""
    return [_row(entry, engine, places, loaded) for entry in entries for engine in _engines(entry)]


def _engines(entry: Entry) -> list[Engine]:
    return [entry.engine, *(engine for engine in entry.engines if engine != entry.engine)]


def _row(entry: Entry, engine: Engine, places: Places, loaded: Loaded) -> dict[str, Any]:
    name = entry.archive_name(engine)
    file = places.archive(name)
    settings = entry.engines[engine]
    there = file.is_file()
    return {
        "name": name,
        "summary": entry.summary,
        "tasks": list(entry.tasks),
        "engine": engine,
        "quantization": settings.quantization,
        "dtype": settings.dtype,
        "licence": entry.licence,
        "languages": list(entry.languages),
        "context": entry.context,
        "default": entry.default and engine == entry.engine,
        "source": str(entry.source),
        "pinned": entry.pinned,
        "archive_megabytes": settings.archive_megabytes,
        "memory_megabytes": settings.memory_megabytes,
        "measured": settings.measured.model_dump(mode="json") if settings.measured else None,
        "state": _state(entry, engine, places),
        "loaded": loaded.state(name),
        "device": loaded.device if loaded.state(name) in {"ready", "starting"} else None,
        "archive": str(file) if there else None,
        "bytes": file.stat().st_size if there else None,
        "sha256": digest(file) if there else None,
    }


def _state(entry: Entry, engine: Engine, places: Places) -> str:
    """`packed`, `no`, `outdated` (an input changed) or `unknown` (an input cannot be read)."""
    file = places.archive(entry.archive_name(engine))
    if not file.is_file():
        return "no"
    try:
        wanted = stamp(entry, engine, places.catalog, places.serving)
    except (StoreError, OSError):
        return "unknown"
    return "packed" if is_packed(file, wanted) else "outdated"


COLUMNS = (
    "name", "tasks", "engine", "licence", "languages", "size", "memory", "speed", "packed",
    "loaded", "device", "sha256",
)  # fmt: skip
FIRST = ("name", "packed", "tasks", "engine", "size", "memory", "speed", "loaded", "device")
"""The columns to keep where not all have room, the most important first; the others go first."""
RIGHT = {"size", "memory"}
GAP = 1


def table(found: Sequence[dict[str, Any]]) -> None:
    """Print the rows for people, with as many columns as the terminal has room for."""
    console = Console()
    cells = [_cells(row) for row in found]
    kept = _kept(cells, console.width)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title in kept:
        shown.add_column(title, justify="right" if title in RIGHT else "left", no_wrap=True)
    for row in cells:
        shown.add_row(*[row[title] for title in kept])
    console.print(shown)
    left = [title for title in COLUMNS if title not in kept]
    if left:
        console.print(f"No room for: {', '.join(left)}; --json shows all.", style="dim")


def _kept(cells: Sequence[dict[str, str]], width: int) -> list[str]:
    """The columns, in their order, that fit into *width* without a break; the name at least."""
    room, kept = width, set[str]()
    for title in sorted(COLUMNS, key=lambda t: FIRST.index(t) if t in FIRST else len(FIRST)):
        need = max([len(title), *(len(row[title]) for row in cells)]) + GAP
        if kept and need > room:
            break
        room -= need
        kept.add(title)
    return [title for title in COLUMNS if title in kept]


def _cells(row: dict[str, Any]) -> dict[str, str]:
    size = row["bytes"] / 1e6 if row["bytes"] else row["archive_megabytes"]
    rounding = "" if row["quantization"] == "none" else f" {row['quantization']}"
    packed = {"packed": "yes", "no": "no" if row["pinned"] else "no, unpinned"}
    return {
        "name": row["name"],
        "tasks": ", ".join(row["tasks"]),
        "engine": row["engine"] + rounding,
        "licence": row["licence"],
        "languages": _languages(row["languages"]),
        "size": _megabytes(size),
        "memory": _megabytes(row["memory_megabytes"]),
        "speed": _speed(row["measured"]),
        "packed": packed.get(row["state"], row["state"]),
        "loaded": row["loaded"] or "?",
        "device": row["device"] or "",
        "sha256": (row["sha256"] or "")[:12],
    }


def _megabytes(size: float | None) -> str:
    return f"{size:.0f} MB" if size else "?"


def _languages(tags: Sequence[str]) -> str:
    return ", ".join(tags) if len(tags) <= MOST_TAGS else f"{len(tags)} languages"


def _speed(measured: dict[str, Any] | None) -> str:
    """The best speed that was measured, in its own unit; the entry says when and how."""
    speeds = [each for each in (measured or {}).get("figures", []) if each["what"] == "speed"]
    if not speeds:
        return "?"
    best = max(speeds, key=lambda each: float(each["value"]))
    return f"{best['value']:g} {best['unit']}"
