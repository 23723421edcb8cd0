"""`isocost ledger`: the store is brought up to date and audited from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cli import main
from router.core.money import PICO
from router.ledger.database import address, engine
from router.ledger.schema import budget


def test_migrate_makes_the_schema_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run says from where to where, the second that there is nothing to do."""
    words = ["ledger", "migrate", "--ledger", str(tmp_path / "new" / "ledger.db")]
    assert main(words) == 0
    assert "none -> " in capsys.readouterr().out
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_audit_ends_with_one_where_somebody_wrote_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget that holds what no attempt holds is named with both sums."""
    store = tmp_path / "ledger.db"
    words = ["ledger", "audit", "--ledger", str(store)]
    assert main(words) == 2
    assert "no ledger there" in capsys.readouterr().err
    assert main(["ledger", "migrate", "--ledger", str(store)]) == 0
    assert main(words) == 0
    made = engine(address(str(store)))
    values = {"key": "team/a", "kind": "team", "name": "a", "span": "total", "start": 0, "ends": 0}
    with made.begin() as connection:
        connection.execute(budget.insert().values(**values, cap=9 * PICO, held=2 * PICO, posted=0))
    made.dispose()
    capsys.readouterr()
    assert main(words) == 1
    assert "team/a: USD held 2, by its attempts 0" in capsys.readouterr().out


def test_the_store_is_the_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its URL comes from the configuration; without a ledger there, and with one away, it says so."""
    plain = "routes: {a: {task: chat, backends: [b]}}\nbackends: {b: {api: openai, model: x}}\n"
    file = tmp_path / "isocost.yaml"
    words = ["ledger", "migrate", "--config", str(file), "--state", str(tmp_path / "state")]
    file.write_text(plain)
    assert main(words) == 2
    assert "keeps no ledger" in capsys.readouterr().err
    file.write_text(plain + "ledger: {}\n")
    assert main(words) == 0
    assert (tmp_path / "state" / "ledger.db").exists()
    file.write_text(plain + "ledger: {url_env: STORE}\n")
    monkeypatch.setenv("STORE", f"sqlite:///{tmp_path / 'state' / 'ledger.db'}/no")
    assert main(words) == 1
    assert "cannot be used" in capsys.readouterr().err
