"""`isocost budgets` and its siblings: what they say, and that looking makes no ledger."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from router.cli import main
from router.core.money import PICO
from router.ledger.budget import Budget, Scope
from router.ledger.ledger import Ledger
from router.ledger.record import Ask

TEAM = Scope("team", "a")
PLAIN = "routes: {a: {task: chat, backends: [b]}}\nbackends: {b: {api: openai, model: x}}\n"


@pytest.fixture
async def store(tmp_path: Path) -> str:
    """A ledger: of 10 USD 3 are spent and 2 held; a price has cost more than its bound."""
    where = str(tmp_path / "ledger.db")
    ledger = await Ledger.open(where, [Budget(TEAM, "month", 10 * PICO)])
    now = time.time()
    asks = [Ask(name, "c", 1, "gpt", 2 * PICO, now + 60, now + 600, (TEAM,)) for name in ("a", "b")]
    holds = [await ledger.reserve(ask, dispatched=True) for ask in asks]
    ledger.settle(holds[0], 3 * PICO)
    await ledger.close()
    return where


def test_what_is_spent_held_and_left(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each budget, and the price that is refused with how to use it again."""
    assert main(["budgets", "--ledger", store]) == 0
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "team a" in line]
    assert [cell.strip() for cell in row.split("│")[4:-1]] == ["10", "3", "2", "5", "50.0%"]
    assert "price of gpt: refused" in said
    assert "--thaw gpt" in said


def test_budgets_for_programs(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as the admin API says it."""
    assert main(["budgets", "--ledger", store, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["refused_prices"] == ["gpt"]
    (budget,) = told["budgets"]
    amounts = [budget[f"{name}_usd"] for name in ("limit", "posted", "held", "left")]
    assert amounts == ["10", "3", "2", "5"]


def test_a_price_is_thawed_by_its_name(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Once; a name that nothing is refused under is told."""
    assert main(["budgets", "--ledger", store, "--thaw", "gtp"]) == 1
    assert "no price 'gtp' is refused" in capsys.readouterr().err
    assert main(["budgets", "--ledger", store, "--thaw", "gpt"]) == 0
    assert "gpt is used again" in capsys.readouterr().out
    assert main(["budgets", "--ledger", store, "--thaw", "gpt"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        "budgets",
        "budgets --json",
        "budgets --thaw gpt",
        "keys list",
        "keys revoke ann",
        "keys rotate ann",
        "ledger audit",
    ],
)
def test_where_no_ledger_is_none_is_made(
    tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said where it was looked for; a file that is empty is no ledger either."""
    place = tmp_path / "state" / "ledger.db"
    assert main([*words.split(), "--ledger", str(place)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert f"{place}: no ledger there" in said.err
    assert not place.parent.exists()
    place.parent.mkdir()
    place.touch()
    assert main([*words.split(), "--ledger", str(place)]) == 2
    assert place.stat().st_size == 0


@pytest.mark.parametrize("ledger", ["{}", "{url: 'sqlite:///STATE/ledger.db'}"])
def test_a_bill_makes_no_ledger(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever the configuration says that it is."""
    state, file = tmp_path / "state", tmp_path / "isocost.yaml"
    state.mkdir()
    file.write_text(f"{PLAIN}ledger: {ledger.replace('STATE', str(state))}\n")
    (tmp_path / "bill.json").write_text('{"calls": 0, "lines": []}')
    words = ["reconcile", str(tmp_path / "bill.json"), "--vendor", "sandbox"]
    assert main([*words, "--config", str(file), "--state", str(state)]) == 1
    assert "no ledger there" in capsys.readouterr().err
    assert not list(state.iterdir())


def test_savings_and_journal_make_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A router's folder that is not there is told."""
    for verb in ("savings", "journal"):
        assert main([verb, "--state", str(tmp_path / "none")]) == 1
        assert "no such folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_first_key_makes_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a router can start with it; that it is new is said, once."""
    words = ["--ledger", str(tmp_path / "new" / "ledger.db")]
    assert main(["keys", "create", "ann", *words]) == 0
    assert "a new ledger is made" in capsys.readouterr().err
    assert main(["keys", "create", "bob", *words]) == 0
    assert "a new ledger" not in capsys.readouterr().err
    assert main(["keys", "list", *words]) == 0


def test_a_new_schema_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a line for each of its steps."""
    with caplog.at_level("INFO"):
        assert main(["ledger", "migrate", "--ledger", str(tmp_path / "ledger.db")]) == 0
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the ledger's tables were made: schema ")
