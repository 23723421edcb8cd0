"""The archive file: same bytes for the same content, whole or not there, every change found."""

import json
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.archive import RECORD, differences, read_record, write_archive
from model_store.errors import ArchiveError

NAMES = st.text(st.sampled_from("abc/._-"), min_size=1, max_size=8).filter(
    lambda name: "//" not in name and not name.startswith("/") and not name.endswith("/")
)
CONTENT = st.dictionaries(NAMES, st.binary(max_size=64), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(CONTENT, st.randoms())
def test_same_content_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], random: object
) -> None:
    """The order in which files are given, their times and whether they lie on disk do not matter."""
    folder = tmp_path_factory.mktemp("same")
    shuffled = list(content)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    on_disk = {}
    for i, name in enumerate(shuffled):
        on_disk[name] = folder / str(i)
        on_disk[name].write_bytes(content[name])
    write_archive(folder / "a.mar", content, "s", {"x": 1})
    write_archive(folder / "b.mar", on_disk, "s", {"x": 1})
    assert (folder / "a.mar").read_bytes() == (folder / "b.mar").read_bytes()


@settings(max_examples=50, deadline=None)
@given(CONTENT)
def test_what_was_packed_comes_out(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]
) -> None:
    """Every file is in it with its bytes, its size and its sha256, and nothing else is."""
    file = tmp_path_factory.mktemp("out") / "a.mar"
    write_archive(file, content, "stamp", {})
    with zipfile.ZipFile(file) as archive:
        assert {n: archive.read(n) for n in archive.namelist() if n != RECORD} == content
        assert archive.namelist()[:-1] == sorted(content)
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert differences(file) == []
    assert read_record(file).stamp == "stamp"


def rewritten(file: Path, changes: dict[str, bytes | None]) -> Path:
    """The archive with some files replaced, added or (None) left out."""
    other = file.with_name("changed.mar")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(other, "w") as new:
        content: dict[str, bytes | None] = {n: old.read(n) for n in old.namelist()} | changes
        for name, data in content.items():
            if data is not None:
                new.writestr(name, data)
    return other


def test_differences_name_exactly_the_file(tmp_path: Path) -> None:
    """Changed, missing and foreign files are told apart."""
    file = tmp_path / "a.mar"
    write_archive(file, {"a": b"1", "b": b"2", "c": b"3"}, "s", {})
    found = differences(rewritten(file, {"a": b"changed", "b": None, "d": b"new"}))
    assert [line.split(" ", 1)[0] for line in found] == ["b", "d", "a"]
    assert found[0] == "b is missing"
    assert found[1] == "d was not packed with it"
    assert "has sha256" in found[2]


def test_a_flipped_byte_is_damage(tmp_path: Path) -> None:
    """The zip's own checksum notices what no tool rewrote."""
    file = tmp_path / "a.mar"
    write_archive(file, {"a": b"x" * 1000, "b": b"y" * 1000}, "s", {})
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"yyyy") + 10] ^= 1
    file.write_bytes(raw)
    assert [line[:12] for line in differences(file)] == ["b is damaged"]


@pytest.mark.parametrize("broken", [b"", b"not a zip", b"PK\x03\x04 but cut off"])
def test_what_is_no_archive_says_so(tmp_path: Path, broken: bytes) -> None:
    """Cut-off and foreign files are an error with the advice to pack again."""
    (tmp_path / "a.mar").write_bytes(broken)
    with pytest.raises(ArchiveError, match="Pack it again"):
        read_record(tmp_path / "a.mar")
    with pytest.raises(ArchiveError, match="There is no archive"):
        read_record(tmp_path / "b.mar")


def test_a_foreign_zip_is_no_archive(tmp_path: Path) -> None:
    """An archive of another packer has no list of checksums."""
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({}))
    with pytest.raises(ArchiveError, match="not a whole archive"):
        differences(tmp_path / "a.mar")


def test_a_failed_write_leaves_the_old_archive(tmp_path: Path) -> None:
    """A source that vanishes half-way: the archive that was there stays, and no part is left."""
    file = tmp_path / "a.mar"
    write_archive(file, {"a": b"1"}, "old", {})
    with pytest.raises(ArchiveError, match="Cannot write"):
        write_archive(file, {"a": b"1", "b": tmp_path / "gone"}, "new", {})
    assert read_record(file).stamp == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.mar"]


def test_a_reader_never_sees_half_an_archive(tmp_path: Path) -> None:
    """While it is written over and over, every read is of a whole archive."""
    file = tmp_path / "a.mar"
    write_archive(file, {"a": b"0" * 100_000}, "0", {})
    done = threading.Event()

    def write() -> None:
        for i in range(30):
            write_archive(file, {"a": str(i % 10).encode() * 100_000}, str(i), {})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        copy = tmp_path / "copy"
        shutil.copyfile(file, copy)
        assert differences(copy) == []
    writer.join()
