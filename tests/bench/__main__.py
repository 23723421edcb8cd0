"""`python -m tests.bench`: run the parts, then write and show what they found."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from rich.console import Console

from .machine import machine
from .plot import draw
from .process import ROOT
from .report import save, table
from .result import Part, Skipped
from .scale import FULL, QUICK, Room

PARTS = ("router", "plan", "ledger", "memory", "serving", "tasks", "mixed")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="short, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("bench/out"), help="folder of results")
    parser.add_argument("--archives", type=Path, default=ROOT / "model_store" / "archives")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PARTS):
        parser.error(f"no part {unknown.pop()!r}; there are {', '.join(PARTS)}")
    return options


def main() -> int:
    """0 when no part broke; missed targets and parts that cannot run here are told, not punished."""
    options = arguments()
    # So that every block is left and every program stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 132)
    facts = machine()
    parts: list[Part] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in [n for n in PARTS if not options.names or n in options.names]:
        console.print(f"{name} ...", highlight=False)
        try:
            parts.append(_run(name, options))
        except Skipped as exc:
            skipped[name] = str(exc)
            console.print(f"{name}: left out: {exc}", markup=False, highlight=False)
        except Exception as exc:  # noqa: BLE001 - what the other parts found must not be lost
            failed[name] = f"{type(exc).__name__}: {exc}"
            console.print(f"{name}: broke: {failed[name]}", markup=False, highlight=False)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    table(parts, console)
    if (load := facts["load_before"][0]) > facts["cores"] / 2:
        console.print(
            f"The machine was busy before the start (load {load} on {facts['cores']} cores): "
            "trust the ratios, not the absolute figures.",
            highlight=False,
        )
    file = save(parts, skipped | failed, facts, out=options.out, quick=options.quick)
    title = f"Isocost, {facts['processor']}, {facts['cores']} cores"
    picture = draw(parts, file.with_suffix(".png"), title)
    console.print(f"written: {file}" + (f", {picture}" if picture else ""), highlight=False)
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> Part:
    run = import_module(f"tests.bench.part_{name}").run
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="isocost-bench-") as folder:
        scale = QUICK if options.quick else FULL
        part: Part = run(Room(Path(folder), options.archives.resolve(), scale))
    part.seconds = time.monotonic() - began
    return part


if __name__ == "__main__":
    sys.exit(main())
