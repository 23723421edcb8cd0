"""The benchmark runs to its end and writes what it promises; how fast it was is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.system
@pytest.mark.timeout(180)
def test_quick_run_writes_the_figures(tmp_path: Path) -> None:
    """`--quick router plan` ends well, with rows, machine facts, rounds and a picture."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.bench", "router", "plan", "--quick", "--out", str(out)]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((out / "bench.json").read_text())
    assert found["quick"] is True
    assert found["date"]
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["packages"]["granian"]
    assert set(found["parts"]) == {"router", "plan"}
    for part in found["parts"].values():
        assert part["rows"]
        assert part["raw"]
        for row in part["rows"]:
            assert {"name", "value", "unit", "target", "held"} <= set(row)
            assert isinstance(row["value"], float)
            assert (row["held"] is None) == (row["target"] is None)
    names = {row["name"] for row in found["parts"]["router"]["rows"]}
    assert {"CPU per call, router, 1 in flight", "CPU per streamed event, router"} <= names
    assert (out / "bench.png").stat().st_size > 10_000
    assert "measured" in ran.stdout


@pytest.mark.system
def test_unknown_part_is_named(tmp_path: Path) -> None:
    """A misspelled part ends with a message that lists the parts."""
    command = [sys.executable, "-m", "tests.bench", "ruoter", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "router" in ran.stderr
