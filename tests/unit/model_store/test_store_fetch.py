"""Fetching: each kind of source, from this machine's own stand-ins; checksums; sources out of reach."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from store_makers import entry, sha256

from model_store.errors import ChecksumError, SourceError, reason
from model_store.fetch import fetch, source_key


def make_wheel(folder: Path, package: str, files: dict[str, bytes]) -> None:
    """A wheel by hand, as pip wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{package}-1.0.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in (files | meta).items():
            wheel.writestr(name, content)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's settings point to a folder of wheels and to no index."""
    wheels = tmp_path / "wheels"
    for name in ("PIP_CONFIG_FILE", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.setenv(
            name, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}.get(name, "/dev/null")
        )
    make_wheel(wheels, "part_one", {"part_one/m/config.json": b"{}", "part_one/m/sub/a.bin": b"a"})
    make_wheel(wheels, "part_two", {"part_two/m/b.bin": b"b", "part_two/code.py": b"never taken"})
    return wheels


def pypi(files: Any, *, paths: tuple[str, str] = ("part_one/m", "part_two/m")) -> Any:
    wheels = [
        {"package": "part-one", "version": "1.0", "path": paths[0]},
        {"package": "part-two", "version": "1.0", "path": paths[1]},
    ]
    return entry(source={"kind": "pypi", "wheels": wheels, "files": files})


PINS = {"config.json": sha256(b"{}"), "sub/a.bin": sha256(b"a"), "b.bin": sha256(b"b")}


def test_wheels_are_laid_over_each_other(tmp_path: Path, index: Path) -> None:
    """The folders of both wheels, checked, and nothing else of them."""
    folder = fetch(pypi(PINS), tmp_path / "cache", tmp_path)
    found = {
        f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()
    }
    assert found == {"config.json": b"{}", "sub/a.bin": b"a", "b.bin": b"b"}


def test_only_pinned_files_are_taken(tmp_path: Path, index: Path) -> None:
    """`files` is also the list of what is wanted."""
    folder = fetch(pypi({"b.bin": sha256(b"b")}), tmp_path / "cache", tmp_path)
    assert [f.name for f in folder.iterdir()] == ["b.bin"]


def test_fetched_once(tmp_path: Path, index: Path) -> None:
    """With the cache filled, the source may be out of reach."""
    first = fetch(pypi(PINS), tmp_path / "cache", tmp_path)
    shutil.rmtree(index)
    assert fetch(pypi(PINS), tmp_path / "cache", tmp_path) == first


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, index: Path) -> None:
    """The message names the file and both checksums; the cache stays empty."""
    with pytest.raises(ChecksumError) as caught:
        fetch(pypi(PINS | {"b.bin": "0" * 64}), tmp_path / "cache", tmp_path)
    assert "b.bin has sha256 " + sha256(b"b") in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert [f for f in (tmp_path / "cache/sources").iterdir() if f.is_dir()] == []


def test_a_pinned_file_that_is_not_there(tmp_path: Path, index: Path) -> None:
    """The wheel came, without a file that the entry lists."""
    with pytest.raises(SourceError, match=r"holds no file more\.bin"):
        fetch(pypi(PINS | {"more.bin": "0" * 64}), tmp_path / "cache", tmp_path)


def test_a_wrong_path_inside_the_wheel(tmp_path: Path, index: Path) -> None:
    """Says which folder is not in which wheel."""
    with pytest.raises(SourceError, match=r"part-two==1\.0 has no folder nowhere"):
        fetch(pypi("unpinned", paths=("part_one/m", "nowhere")), tmp_path / "cache", tmp_path)


def test_package_index_without_the_package(tmp_path: Path, index: Path) -> None:
    """One sentence: what failed, why, what to do."""
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(SourceError) as caught:
        fetch(pypi(PINS), tmp_path / "cache", tmp_path)
    assert str(caught.value) == (
        "Cannot download part-one==1.0 from the Python package index: No matching distribution found "
        "for part-one==1.0. Check the connection and pip's index settings, then run the command again."
    )


def test_package_index_out_of_reach(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline is told as offline, though pip's last word is "no matching distribution"."""
    shutil.rmtree(index)
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(SourceError, match="the index does not answer"):
        fetch(pypi(PINS), tmp_path / "cache", tmp_path)


def test_a_folder_is_used_where_it_is(tmp_path: Path) -> None:
    """Nothing is copied; a relative path counts from the catalog; pins are checked."""
    (tmp_path / "catalog").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a").write_bytes(b"a")
    source = {"kind": "folder", "path": "../model"}
    found = fetch(entry(source=source), tmp_path / "cache", tmp_path / "catalog")
    assert found == tmp_path / "model"
    wrong = entry(source=source | {"files": {"a": "0" * 64}})
    with pytest.raises(ChecksumError):
        fetch(wrong, tmp_path / "cache", tmp_path / "catalog")
    with pytest.raises(SourceError, match="There is no folder"):
        fetch(entry(source=source | {"path": "../none"}), tmp_path / "cache", tmp_path / "catalog")


COMMIT = "0123456789abcdef0123456789abcdef01234567"

HUB = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_makers import entry
from model_store.errors import SourceError
from model_store.fetch import fetch
source = {"kind": "hub", "id": "someone/tiny", "revision": sys.argv[2], "take": ["*.json"], "files": "unpinned"}
try:
    folder = fetch(entry(source=source), Path(sys.argv[3]), Path("."))
    print(sorted(f.name for f in folder.iterdir()), (folder / ".revision").read_text())
except SourceError as error:
    print(error)
"""


def hub(tmp_path: Path, revision: str) -> str:
    """In a process of its own: the hub's client reads its settings when it is imported."""
    home = tmp_path / "hf"
    repository = home / "hub/models--someone--tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "weights.h5").write_text("not taken")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    arguments = [str(Path(__file__).parent), revision, str(tmp_path / "cache")]
    run = subprocess.run(
        [sys.executable, "-c", HUB, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "PATH": "",
            "PYTHONPATH": str(Path.cwd()),
        },
    )
    return run.stdout.strip()


@pytest.mark.parametrize("revision", [COMMIT, "unpinned"])
def test_hub_by_commit_and_unpinned(tmp_path: Path, revision: str) -> None:
    """The commit's files come, and the commit that was got is written down."""
    assert hub(tmp_path, revision) == f"['.revision', 'config.json'] {COMMIT}"


def test_hub_out_of_reach(tmp_path: Path) -> None:
    """A commit that is not in the client's cache, offline."""
    said = hub(tmp_path, "f" * 40)
    assert said.startswith("Cannot get someone/tiny from the model hub: ")
    assert said.endswith("then run the command again.")


HUBCONF = """
dependencies = ["transformers"]

def model(size):
    from store_makers import tiny
    return tiny(size)

def tokenizer(size):
    class Tokenizer:
        def save_pretrained(self, folder):
            (folder / "tokenizer.json").write_text("{}")
    return Tokenizer()

def number(size):
    return 7

def broken(size):
    raise RuntimeError("no such size")
"""


def torch_hub(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "repo").mkdir(exist_ok=True)
    (tmp_path / "repo/hubconf.py").write_text(HUBCONF)
    source = {
        "kind": "torch.hub",
        "repo": "./repo",
        "entry": "model",
        "tokenizer_entry": "tokenizer",
        "arguments": ["bert"],
        "files": "unpinned",
    }
    return fetch(entry(source=source | changes), tmp_path / "cache", tmp_path)


def test_torch_hub_of_a_local_repository(tmp_path: Path) -> None:
    """What the entry points return is saved as a Hugging Face folder."""
    folder = torch_hub(tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        f.name for f in folder.iterdir()
    }


def test_torch_hub_that_fails(tmp_path: Path) -> None:
    """Code that raises, entry points that are not there or return something else."""
    with pytest.raises(
        SourceError, match=r"Cannot load broken of the torch\.hub repository \./repo: no such size"
    ):
        torch_hub(tmp_path, entry="broken")
    with pytest.raises(SourceError, match="Cannot find callable nothing"):
        torch_hub(tmp_path, entry="nothing")
    with pytest.raises(SourceError, match=r"number\(\) returned a int"):
        torch_hub(tmp_path, entry="number")
    assert not list((tmp_path / "cache/sources").glob("*[!k]"))


def test_the_cache_knows_sources_apart() -> None:
    """Another version or pin is another folder; another summary is not."""
    assert source_key(pypi(PINS)) != source_key(pypi(PINS | {"b.bin": "0" * 64}))
    assert source_key(entry(summary="a")) == source_key(entry(summary="b"))


def test_reasons_are_sentences() -> None:
    """First line, with its full stop; the name of the error where it says nothing."""
    assert reason(ValueError("first\nsecond")) == "first."
    assert reason(ValueError("done.")) == "done."
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt."
