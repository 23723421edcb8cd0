"""The table on the terminal, the JSON file and the plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .result import Part

WORDS = {True: "[green]held[/green]", False: "[red]missed[/red]", None: ""}


def table(parts: Sequence[Part], console: Console) -> None:
    """One line per figure, then what the reader must know."""
    shown = Table(title="Isocost benchmarks", title_justify="left")
    shown.add_column("part", no_wrap=True)
    shown.add_column("figure")
    shown.add_column("measured", justify="right", no_wrap=True)
    shown.add_column("target", justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("detail")
    for part in parts:
        for at, row in enumerate(part.rows):
            value = f"{_number(row.value)} {row.unit}"
            name = "" if at else part.name
            shown.add_row(name, row.name, value, row.goal, WORDS[row.held], row.detail)
        shown.add_section()
    console.print(shown)
    for part in parts:
        for note in part.notes:
            console.print(f"{part.name}: {note}", markup=False, highlight=False)


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def save(
    parts: Sequence[Part], skipped: dict[str, str], facts: dict[str, Any], *, out: Path, quick: bool
) -> Path:
    """Write `bench.json`; its path."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "bench.json"
    held = [row.held for part in parts for row in part.rows if row.held is not None]
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": facts,
        "held": sum(held),
        "targets": len(held),
        "parts": {part.name: part.json() for part in parts},
        "skipped": skipped,
    }
    file.write_text(json.dumps(found, indent=1) + "\n")
    return file
