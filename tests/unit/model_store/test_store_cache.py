"""Folders that are made once: whole or not there, by one process at a time."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from model_store.cache import cache_folder, made_once
from model_store.errors import SourceError, StoreError


def test_made_once_and_kept(tmp_path: Path) -> None:
    """The second time nothing is made; `again` makes it afresh."""
    calls: list[int] = []

    def make(part: Path) -> None:
        calls.append(1)
        (part / "file").write_text(str(len(calls)))

    folder = tmp_path / "deep" / "folder"
    made_once(folder, make)
    made_once(folder, make)
    assert (folder / "file").read_text() == "1"
    made_once(folder, make, again=True)
    assert (folder / "file").read_text() == "2"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """What was half-made is gone, and the next try begins anew."""

    def fail(part: Path) -> None:
        (part / "half").write_text("")
        raise SourceError("out of reach")

    with pytest.raises(SourceError):
        made_once(tmp_path / "folder", fail)
    assert [f.name for f in tmp_path.iterdir() if f.is_dir()] == []
    made_once(tmp_path / "folder", lambda part: (part / "whole").touch())
    assert [f.name for f in (tmp_path / "folder").iterdir()] == ["whole"]


def test_a_failed_refresh_keeps_the_old_folder(tmp_path: Path) -> None:
    """`again` replaces the folder only by a whole one."""
    made_once(tmp_path / "folder", lambda part: (part / "old").touch())

    def fail(part: Path) -> None:
        raise SourceError("out of reach")

    with pytest.raises(SourceError):
        made_once(tmp_path / "folder", fail, again=True)
    assert (tmp_path / "folder" / "old").exists()


def killed(folder: Path) -> None:
    def make(part: Path) -> None:
        (part / "half").touch()
        os._exit(9)

    made_once(folder, make)


def slow(folder: Path, log: Path) -> None:
    def make(part: Path) -> None:
        with log.open("a") as stream:
            stream.write("made\n")
        (part / "file").touch()
        time.sleep(0.2)  # so that the other process meets the lock

    made_once(folder, make)
    assert (folder / "file").exists()


def test_a_killed_process_does_not_count_as_done(tmp_path: Path) -> None:
    """What a killed process left is swept away by the next one, and its lock is free."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=killed, args=(tmp_path / "folder",))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not (tmp_path / "folder").exists()
    made_once(tmp_path / "folder", lambda part: (part / "whole").touch())
    assert [f.name for f in (tmp_path / "folder").iterdir()] == ["whole"]


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    """Both find it complete; one of them made it."""
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "folder", tmp_path / "log")
    processes = [context.Process(target=slow, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """The message names the folder and the setting that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="ISOCOST_CACHE"):
        made_once(tmp_path / "file" / "folder", lambda part: None)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ISOCOST_CACHE wins over the home folder."""
    monkeypatch.setenv("ISOCOST_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ISOCOST_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/isocost")
