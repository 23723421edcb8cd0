"""`isocost savings` and `isocost journal`: the sums, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cli import journal as journal_command
from router.cli import savings
from router.journal import Journal
from router.journal.record import Record, made
from router.journal.savings import BY, summed, total
from tests.unit.router.test_journal import a_decision

UTC = ZoneInfo("UTC")
MIDNIGHT = 1_795_132_800
"""2026-11-20 00:00 UTC."""


@st.composite
def some_records(draw) -> list[Record]:
    found = []
    for n in range(draw(st.integers(1, 20))):
        stated = draw(st.booleans())
        decision = a_decision(
            f"c{n}",
            MIDNIGHT + draw(st.integers(0, 3 * 86400)),
            route=draw(st.sampled_from(["a", "b"])),
            saved=draw(st.integers(-(10**9), 10**9)) if stated else None,
            ending={"cost": draw(st.integers(0, 10**9))},
        )
        found.append(made(decision))
    return found


@settings(max_examples=100, deadline=None)
@given(some_records(), st.sampled_from(BY))
def test_savings_add_up(found, by):
    """Over all days: each call once; baseline less cost is what was stated of each call."""
    whole = total(summed(found, UTC, by).values())
    stated = [record for record in found if record.saved is not None]
    assert (whole.calls, whole.unstated) == (len(stated), len(found) - len(stated))
    assert whole.saved == sum(record.saved or 0 for record in stated)
    assert whole.baseline == sum(record.cost + (record.saved or 0) for record in stated)
    assert whole.cost + whole.unstated_cost == sum(record.cost for record in found)


def test_what_brought_no_answer_is_taken_off():
    """Where the route has a baseline, a paid call without an answer makes the saving smaller."""
    import msgspec

    good = msgspec.structs.replace(made(a_decision(saved=100)), baseline="gpt", cost=5)
    bad = msgspec.structs.replace(good, saved=None, cost=30)
    (saving,) = summed([good, bad], UTC).values()
    assert (saving.saved, saving.spent, saving.baseline) == (70, 35, 105)
    assert saving.share == 70 / 105


def test_days_are_those_of_the_zone():
    """A call after midnight in Paris is of the next day there."""
    late = made(a_decision(created=MIDNIGHT - 1800))
    assert {day for day, _, _ in summed([late], UTC)} == {"2026-11-19"}
    assert {day for day, _, _ in summed([late], ZoneInfo("Europe/Paris"))} == {"2026-11-20"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "state")
    for n in range(60):
        saved = None if n % 10 == 0 else 1000
        journal.write(
            a_decision(f"c{n}", MIDNIGHT + n * 3600, saved=saved, ending={"error": "a,b\nc"})
        )
    journal.close()
    return tmp_path / "state"


def test_savings_are_shown(folder, tmp_path, capsys):
    """A table with a sum, bars, or a PNG."""
    assert savings.main(["--state", str(folder), "--since", "2026-11-21"]) == 0
    shown = capsys.readouterr().out
    assert "2026-11-20" not in shown
    assert "2026-11-21 ░" in shown
    assert savings.main(["--state", str(folder), "--plot", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert savings.main(["--state", str(folder), "--route", "nope"]) == 0
    assert "no calls" in capsys.readouterr().out


def test_records_in_every_form(folder, tmp_path, capsys):
    """Table, CSV, JSON and Parquet say the same of the same calls."""

    def out(*words: str) -> str:
        assert journal_command.main(["--state", str(folder), *words]) == 0
        return capsys.readouterr().out

    rows = list(csv.DictReader(io.StringIO(out("--format", "csv"))))
    said = [json.loads(line) for line in out("--format", "json").splitlines()]
    assert [row["call_id"] for row in rows] == [one["call_id"] for one in said]
    assert rows[0]["time"] == "2026-11-20T00:00:00Z"
    assert rows[0]["error"] == "a,b\nc"
    assert [row["saved_usd"] or None for row in rows] == [one["saved_usd"] for one in said]
    assert out().count("2026-11-2") == 50
    assert out("--last", "3").count("2026-11-2") == 3
    assert json.loads(out("c7"))["call_id"] == "c7"
    written = tmp_path / "x.csv"
    assert out("--format", "csv", "--output", str(written)) == ""
    assert len(list(csv.DictReader(written.open(newline="")))) == 60


def test_parquet_is_typed(folder, tmp_path):
    """Money as exact decimals, times as times."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    words = ["--state", str(folder), "--format", "parquet", "--output", str(path)]
    assert journal_command.main(words) == 0
    table = parquet.read_table(path)
    assert table.num_rows == 60
    assert table["saved_usd"][1].as_py() == Decimal("0.000000001")
    assert table["saved_usd"][0].as_py() is None
    assert table["time"][1].as_py().isoformat() == "2026-11-20T01:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["--zone", "Mars/Olympus"], "is no time zone"),
        (["--state", "/nowhere/at/all"], "no such folder"),
        (["nope"], "no record of call 'nope'"),
    ],
)
def test_what_cannot_be_is_said(folder, capsys, words, said):
    """A clear error and status 1."""
    assert journal_command.main(["--state", str(folder), *words]) == 1
    assert said in capsys.readouterr().err
