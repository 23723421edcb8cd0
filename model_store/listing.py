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


def table(found: Sequence[dict[str, Any]]) -> None:
    """Print the rows for people."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in COLUMNS:
        right = title in {"size", "memory"}
        shown.add_column(
            title,
            justify="right" if right else "left",
            no_wrap=title == "name",
            overflow="fold",
        )
    for row in found:
        size = row["bytes"] / 1e6 if row["bytes"] else row["archive_megabytes"]
        rounding = "" if row["quantization"] == "none" else f" {row['quantization']}"
        shown.add_row(
            row["name"],
            ", ".join(row["tasks"]),
            row["engine"] + rounding,
            row["licence"],
            _languages(row["languages"]),
            _megabytes(size),
            _megabytes(row["memory_megabytes"]),
            _speed(row["measured"]),
            {"packed": "yes", "no": "no" if row["pinned"] else "no (source unpinned)"}.get(
                row["state"], row["state"]
            ),
            row["loaded"] or "?",
            row["device"] or "",
            (row["sha256"] or "")[:12],
        )
    Console().print(shown)


COLUMNS = (
    "name", "tasks", "engine", "licence", "languages", "size", "memory", "speed", "packed",
    "loaded", "device", "sha256",
)  # fmt: skip


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
