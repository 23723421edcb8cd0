"""The catalog's format: what is refused, where, and with which suggestion."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_makers import raw_entry, write_entry

from model_store.entry import Entry
from model_store.errors import CatalogError
from model_store.load import choose, load_catalog, load_entry
from model_store.recipe import kind_for
from model_store.sources import Pypi

PYPI = {
    "kind": "pypi",
    "wheels": [{"package": "a-model", "version": "1.0", "path": "a_model"}],
    "files": "unpinned",
}


def said(tmp_path: Path, **changes: object) -> str:
    with pytest.raises(CatalogError) as caught:
        load_entry(write_entry(tmp_path, raw_entry(**changes)))
    return str(caught.value)


def test_the_shipped_catalog_is_well_formed() -> None:
    """Every shipped entry loads, and the default ones are pinned byte by byte."""
    entries = load_catalog()
    defaults = {name for name, entry in entries.items() if entry.default}
    assert defaults == {"minilm", "smollm2-135m"}
    assert all(entries[name].pinned for name in defaults)
    assert {"gpt2", "distilbert-sst2", "tinybert"} <= set(entries)


def test_every_shipped_entry_has_a_handler(places: object) -> None:
    """serving/ARCHIVE.yaml has a handler for the tasks of each entry."""
    from model_store.recipe import SERVING

    for entry in load_catalog().values():
        assert set(entry.tasks) <= set(kind_for(entry, SERVING).tasks)


def test_shipped_entries_do_not_carry_invented_checksums() -> None:
    """Hub entries, which nobody could fetch here, say `unpinned`."""
    hub = [e for e in load_catalog().values() if e.source.kind == "hub"]
    assert hub
    assert all(not e.pinned for e in hub)


def test_unknown_key_names_file_path_and_nearest_key(tmp_path: Path) -> None:
    """A misspelled key at the top."""
    message = said(tmp_path, licenze="MIT")
    assert message == f"{tmp_path}/tiny.yaml: licenze: unknown key; did you mean 'licence'?"


def test_unknown_key_deep_in_a_list(tmp_path: Path) -> None:
    """The path counts list items, and the hint is from the keys at that place."""
    wheel = {"package": "a-model", "version": "1.0", "path": "a", "verison": "2"}
    message = said(tmp_path, source={**PYPI, "wheels": [wheel]})
    assert "source.wheels.0.verison: unknown key; did you mean 'version'?" in message


def test_unknown_key_of_an_engine_and_of_torchserve(tmp_path: Path) -> None:
    """Two mistakes are two lines; TorchServe's keys are known by TorchServe's names."""
    message = said(
        tmp_path,
        engines={"torch": {"dtpye": "float32"}},
        serving={"batch_size": 8},
        handler={"x": 1},
    )
    assert "engines.torch.dtpye: unknown key; did you mean 'dtype'?" in message
    assert "serving.batch_size: unknown key; did you mean 'batchSize'?" in message
    assert "handler.x: unknown key; known are attention, compile" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"context": "1024"}, "context: Input should be a valid integer"),
        ({"context": 0}, "context: Input should be greater than or equal to 1"),
        ({"tasks": ["chatt"]}, "tasks.0: Input should be 'chat'"),
        ({"tasks": ["embed", "embed"]}, "names a task twice"),
        ({"engine": "onnx"}, "engine: Input should be 'torch', 'ctranslate2' or 'onnxruntime'"),
        ({"engine": "ctranslate2", "engines": {"torch": {}}}, "not described under engines"),
        ({"name": "Tiny Model"}, "name: String should match pattern"),
        ({"source": {"kind": "ftp"}}, "source: Input tag 'ftp'"),
        ({"source": {**PYPI, "files": {"a": "12"}}}, "source.files.a: String should match pattern"),
        ({"source": {**PYPI, "files": {"../a": "0" * 64}}}, "must be a path inside"),
        ({"source": {**PYPI, "files": "none"}}, "source.files: Input should be 'unpinned'"),
        (
            {"source": {"kind": "hub", "id": "a/b", "revision": "main", "files": "unpinned"}},
            "source.revision: String should match pattern",
        ),
        (
            {
                "source": {
                    "kind": "torch.hub",
                    "repo": "nowhere",
                    "entry": "m",
                    "tokenizer_entry": "t",
                    "files": "unpinned",
                }
            },
            "owner/name:commit",
        ),
    ],
)
def test_wrong_values_are_refused_with_their_path(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    """One case for each rule of the format."""
    raw = raw_entry(**changes)
    with pytest.raises(CatalogError) as caught:
        load_entry(write_entry(tmp_path, raw, name="tiny"))
    assert expected in str(caught.value)


def test_pins_have_to_be_spoken_about() -> None:
    """A source elsewhere must say either its checksums or `unpinned`; silence is refused."""
    with pytest.raises(ValueError, match="files"):
        Pypi.model_validate({k: v for k, v in PYPI.items() if k != "files"})


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML readers would keep the last one in silence."""
    (tmp_path / "tiny.yaml").write_text("name: tiny\nname: tinier\n")
    with pytest.raises(CatalogError, match="'name' stands there twice"):
        load_entry(tmp_path / "tiny.yaml")


def test_broken_yaml_and_wrong_file_name(tmp_path: Path) -> None:
    """Both are errors of the catalog, with the file's name."""
    (tmp_path / "a.yaml").write_text("name: [")
    with pytest.raises(CatalogError, match=r"a\.yaml is not well-formed YAML"):
        load_entry(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- 1")
    with pytest.raises(CatalogError, match="must hold keys"):
        load_entry(tmp_path / "b.yaml")
    with pytest.raises(CatalogError, match="name: must be 'other'"):
        load_entry(write_entry(tmp_path, raw_entry(), name="other"))
    with pytest.raises(CatalogError, match="no catalog folder"):
        load_catalog(tmp_path / "none")


def test_two_archives_never_share_a_name(tmp_path: Path) -> None:
    """An entry may not take the name of another's twin."""
    write_entry(tmp_path, raw_entry("m"))
    write_entry(tmp_path, raw_entry("m-ctranslate2"))
    with pytest.raises(CatalogError, match="takes the name of m's ctranslate2 archive"):
        load_catalog(tmp_path)


def test_names_and_twins(tmp_path: Path) -> None:
    """`m`, `m-ctranslate2` and `m --engine ctranslate2`; unknown ones get a hint."""
    write_entry(tmp_path, raw_entry("m"))
    entries = load_catalog(tmp_path)
    assert choose(entries, "m", None)[1] == "torch"
    assert choose(entries, "m-ctranslate2", None)[1] == "ctranslate2"
    assert choose(entries, "m", "ctranslate2")[1] == "ctranslate2"
    with pytest.raises(CatalogError, match="did you mean 'm-ctranslate2'"):
        choose(entries, "m-ctranslate", None)
    write_entry(tmp_path, raw_entry("n", engines={"torch": {}}))
    with pytest.raises(CatalogError, match="n cannot be packed for ctranslate2"):
        choose(load_catalog(tmp_path), "n", "ctranslate2")


@given(st.text(min_size=1, max_size=12))
def test_any_unknown_key_is_refused(key: str) -> None:
    """Whatever the word: what is not in the format does not pass."""
    if key not in raw_entry() and key not in {"version", "default", "serving", "handler"}:
        with pytest.raises(ValueError, match="Extra inputs"):
            Entry.model_validate(raw_entry() | {key: 1})
