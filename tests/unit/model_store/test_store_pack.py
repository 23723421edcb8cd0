"""Packing: what an archive holds, when nothing is to do, and that equal inputs give equal bytes."""

import json
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from store_makers import RECIPE, entry, raw_entry, write_entry

from model_store.archive import differences, read_record, write_archive
from model_store.entry import Entry
from model_store.errors import ArchiveError, CatalogError, SourceError
from model_store.load import load_catalog
from model_store.pack import Places, pack
from model_store.recipe import kind_for, model_config
from model_store.stamp import stamp


def of(folder: Path, **changes: Any) -> Entry:
    return entry(source={"kind": "folder", "path": str(folder)}, **changes)


def read(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_contents_are_the_contract(models: dict[str, Path], places: Places) -> None:
    """Manifest, model-config.yaml, worker files and model/ as TorchServe and the worker expect them."""
    given = of(
        models["gpt2"],
        serving={"batchSize": 4, "jobQueueSize": 9},
        handler={"max_batch": 4},
    )
    packed = pack(given, "ctranslate2", places)
    content = read(packed.file)
    assert packed.file == places.archives / "tiny-ctranslate2.mar"
    assert json.loads(content["MAR-INF/MANIFEST.json"]) == {
        "runtime": "python",
        "model": {
            "modelName": "tiny-ctranslate2",
            "modelVersion": "1.0",
            "handler": "generation.py",
            "configFile": "model-config.yaml",
        },
    }
    assert yaml.safe_load(content["model-config.yaml"]) == {
        "minWorkers": 1,
        "batchSize": 4,
        "jobQueueSize": 9,
        "handler": {
            "name": "tiny-ctranslate2",
            "version": "1.0",
            "task": ["complete"],
            "engine": "ctranslate2",
            "dtype": "auto",
            "quantization": "int8",
            "context": 32,
            "max_batch": 4,
            "waves": 4,
        },
    }
    assert content["generation.py"] == b"class Generation: ...\n"
    assert content["serving/__init__.py"] == b""
    assert {"model/config.json", "model/tokenizer.json", "model/ct2/model.bin"} <= set(content)
    assert read_record(packed.file).about["licence"] == "Apache-2.0"


def test_every_engine_writes_its_own_settings(models: dict[str, Path], places: Places) -> None:
    """The kind's `int8` does not survive in a torch archive."""
    kind = kind_for(of(models["gpt2"]), places.serving)
    handler = model_config(of(models["gpt2"]), "torch", kind)["handler"]
    assert handler["engine"] == "torch"
    assert handler["quantization"] == "none"
    assert handler["dtype"] == "float32"
    assert handler["name"] == "tiny"


@pytest.mark.parametrize(
    "case", ["gpt2 complete torch", "gpt2 complete ctranslate2", "bert embed ctranslate2"]
)
def test_same_inputs_same_bytes(
    models: dict[str, Path], places: Places, tmp_path: Path, case: str
) -> None:
    """Packed twice, each time into an empty cache and another folder."""
    kind, task, engine = case.split()
    given = of(models[kind], tasks=[task])
    archives = []
    for name in ("one", "two"):
        there = Places(places.catalog, tmp_path / name, places.serving, tmp_path / f"cache-{name}")
        archives.append(pack(given, cast(Any, engine), there).file.read_bytes())
    assert archives[0] == archives[1]


def test_unchanged_is_left_alone(models: dict[str, Path], places: Places) -> None:
    """Not even its time changes; --force packs it nevertheless, to the same bytes."""
    first = pack(of(models["gpt2"]), "torch", places)
    before = first.file.read_bytes(), first.file.stat().st_mtime_ns
    again = pack(of(models["gpt2"]), "torch", places)
    assert (first.changed, again.changed) == (True, False)
    assert (again.file.read_bytes(), again.file.stat().st_mtime_ns) == before
    forced = pack(of(models["gpt2"]), "torch", places, force=True)
    assert forced.changed
    assert forced.file.read_bytes() == before[0]


def change_worker(places: Places, model: Path) -> None:
    (places.serving / "worker/generation.py").write_text("class Better: ...\n")


def change_recipe(places: Places, model: Path) -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["kinds"]["generate"]["config"]["batchSize"] = 2
    (places.serving / "ARCHIVE.yaml").write_text(yaml.safe_dump(recipe))


def change_source(places: Places, model: Path) -> None:
    (model / "vocab.txt").write_text("another")


def damage_archive(places: Places, model: Path) -> None:
    file = places.archive("tiny")
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("change", [change_worker, change_recipe, change_source, damage_archive])
def test_a_changed_input_packs_again(
    models: dict[str, Path], places: Places, tmp_path: Path, change: Any
) -> None:
    """Worker files, the recipe, the model's own files, and an archive that is cut off."""
    model = tmp_path / "model"
    model.mkdir()
    for file in models["gpt2"].iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    pack(of(model), "torch", places)
    change(places, model)
    assert pack(of(model), "torch", places).changed
    assert not pack(of(model), "torch", places).changed
    assert differences(places.archive("tiny")) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", "2.0"),
        ("licence", "MIT"),
        ("context", 16),
        ("serving", {"batchSize": 3}),
        ("handler", {"threads": 1}),
        ("tasks", ["chat"]),
        ("engines", {"torch": {"dtype": "bfloat16"}}),
    ],
)
def test_the_stamp_covers_what_is_packed(
    places: Places, key: str, value: Any, tmp_path: Path
) -> None:
    """Each field that ends up in the archive changes the stamp."""
    (tmp_path / "model").mkdir()
    old, new = of(tmp_path / "model"), of(tmp_path / "model", **{key: value})
    assert stamp(old, "torch", places.catalog, places.serving) != stamp(
        new, "torch", places.catalog, places.serving
    )


def test_the_stamp_leaves_out_what_is_said_about_a_model(places: Places, tmp_path: Path) -> None:
    """New figures or another summary are no reason to pack again."""
    measured = {
        "date": "2026-11-22",
        "machine": "2 cores",
        "figures": [{"what": "speed", "value": 1.0, "unit": "texts/s"}],
        "distance": "none",
    }
    (tmp_path / "model").mkdir()
    old = of(tmp_path / "model")
    engines = {"torch": {"dtype": "float32", "measured": measured, "memory_megabytes": 5}}
    new = of(tmp_path / "model", summary="Other words.", default=True, engines=engines)
    there = ("torch", places.catalog, places.serving)
    assert stamp(old, *there) == stamp(new, *there)  # type: ignore[arg-type]


def test_a_failed_pack_keeps_the_old_archive(places: Places, tmp_path: Path) -> None:
    """The source is gone: an error, and what was served yesterday can be served today."""
    places.archives.mkdir()
    write_archive(places.archive("tiny"), {"a": b"1"}, "old", {})
    with pytest.raises(SourceError, match="There is no folder"):
        pack(of(tmp_path / "gone"), "torch", places)
    assert read_record(places.archive("tiny")).stamp == "old"


def test_the_smallest_handler_that_serves_all_tasks(places: Places) -> None:
    """`embed` alone gets the embed handler, both tasks the one for both, nonsense an error."""
    assert kind_for(entry(tasks=["embed"]), places.serving).tasks == ["embed"]
    assert kind_for(entry(tasks=["classify"]), places.serving).tasks == ["embed", "classify"]
    with pytest.raises(CatalogError, match=r"No handler serves chat, embed together for tiny"):
        kind_for(entry(tasks=["chat", "embed"]), places.serving)


def test_a_recipe_with_a_hole(places: Places, models: dict[str, Path]) -> None:
    """A worker file that is named and not there; a recipe that is not one."""
    (places.serving / "worker/generation.py").unlink()
    with pytest.raises(ArchiveError, match=r"names .*generation\.py, which is not there"):
        pack(of(models["gpt2"]), "torch", places)
    (places.serving / "ARCHIVE.yaml").write_text("kinds: {generate: {tasks: [chat]}}")
    with pytest.raises(ArchiveError, match=r"ARCHIVE\.yaml: handler: Field required"):
        kind_for(entry(), places.serving)
    (places.serving / "ARCHIVE.yaml").write_text("[]")
    with pytest.raises(ArchiveError, match="has no kinds of handlers"):
        kind_for(entry(), places.serving)


def test_the_entry_file_and_the_dict_agree(places: Places) -> None:
    """An entry made of YAML is the entry made of its dict."""
    from model_store.load import load_entry

    assert load_entry(write_entry(places.catalog, raw_entry())) == Entry.model_validate(raw_entry())


GPT2_HUB = """
dependencies = ["transformers"]

def modelForCausalLM(folder):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(folder)

def tokenizer(folder):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(folder)
"""


@pytest.mark.parametrize("engine", ["torch", "ctranslate2"])
def test_gpt2_by_torch_hub_is_gpt2_by_folder(
    places: Places, models: dict[str, Path], tmp_path: Path, engine: str
) -> None:
    """A local repository with the entry points of the shipped entry, packed for either engine."""
    shipped = load_catalog()["gpt2-torch-hub"].source
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/hubconf.py").write_text(GPT2_HUB)
    hub = {
        **shipped.model_dump(),
        "repo": str(tmp_path / "repo"),
        "arguments": [str(models["gpt2"])],
    }
    folder = {"kind": "folder", "path": str(models["gpt2"])}
    weights = []
    for name, source in (("hub", hub), ("folder", folder)):
        made = pack(entry(name=name, source=source), engine, places)  # type: ignore[arg-type]
        inside = "model/model.safetensors" if engine == "torch" else "model/ct2/model.bin"
        with zipfile.ZipFile(made.file) as archive:
            weights.append(archive.read(inside))
            assert "model/tokenizer.json" in archive.namelist()
    assert weights[0] == weights[1]
