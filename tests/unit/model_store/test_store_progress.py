"""What is shown while something takes its time."""

import time
from pathlib import Path

import pytest

from model_store.progress import download_bar, spinner


def test_without_a_terminal_it_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logs get one line for each step, and no control characters."""
    with download_bar("Downloading x", tmp_path, 1), spinner("Converting x"):
        pass
    assert capsys.readouterr() == ("", "Downloading x ...\nConverting x ...\n")


def test_on_a_terminal_the_bar_follows_the_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the megabyte is there, so half of it is shown."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with download_bar("Downloading x", tmp_path, 1):
        (tmp_path / "part").write_bytes(b"x" * 500_000)
        said, until = "", time.monotonic() + 5
        while "0.5/1.0 MB" not in said and time.monotonic() < until:
            said += capsys.readouterr().err
    assert "0.5/1.0 MB" in said
