"""`isocost models train classifier`: heads and whole models, from a CSV to an archive that answers."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch
from store_makers import raw_entry, save_tiny, write_entry

from model_store.cli import main
from model_store.load import load_entry

GOOD = ["the cat sat on the mat", "a cat on the mat", "the cat is red", "a cat and a cat"]
BAD = ["the sea is deep", "the sea is blue and deep", "deep blue sea", "a sea and a deep sea"]


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    """A catalog with a tiny encoder, a table of two labels, and the options of the command."""
    torch.set_num_threads(1)
    save_tiny("bert", tmp_path / "bert")
    source = {"kind": "folder", "path": "../bert"}
    write_entry(tmp_path / "catalog", raw_entry("small", tasks=["embed"], source=source))
    lines = ["text,label"]
    for at in range(3):
        end = ["", " and red", " and blue"][at]
        lines += [f"{text}{end},cats" for text in GOOD] + [f"{text}{end},seas" for text in BAD]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    options = []
    for name in ("catalog", "archives", "trained"):
        options += [f"--{name}", str(tmp_path / name)]
    return [str(tmp_path / "t.csv"), "--base", "small", *options]


def answers(archive: Path, into: Path, texts: list[str]) -> list[str]:
    """The best label of each text, as the worker in the archive says."""
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
    import yaml
    from test_handlers import call, context_for

    from serving.worker.encoder_handler import EncoderHandler

    with zipfile.ZipFile(archive) as packed:
        packed.extractall(into)
    said = yaml.safe_load((into / "model-config.yaml").read_text())["handler"]
    handler, context = EncoderHandler(), context_for(into / "model", **said)
    handler.initialize(context)
    (answer,) = call(handler, context, [{"task": "classify", "texts": texts}])
    return [result["labels"][0] for result in json.loads(answer)["results"]]


@pytest.mark.parametrize("way", [[], ["--whole", "--epochs", "60", "--rate", "0.01"]])
def test_from_a_table_to_answers(
    store: list[str], way: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, scored, described, packed, served; a second time replaces the first."""
    assert main(["train", "classifier", "animals", *store, *way]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"animals: trained in \d+ s; of 4 held-out texts [\d.]+% right, macro F1 [\d.]+ "
        r"\(the commonest label alone: 50.0%\)\nanimals: packed, ", out
    )  # fmt: skip
    entry = load_entry(tmp_path / "catalog/animals.yaml")
    assert entry.tasks == ["classify"]
    assert entry.engine == ("torch" if way else "ctranslate2")
    assert entry.licence == "Apache-2.0"
    assert "held-out texts" in entry.summary
    training = json.loads((tmp_path / "trained/animals/training.json").read_text())
    assert training["held_out"]["texts"] == 4
    assert training["training_texts"] == 20
    archive = tmp_path / "archives/animals.mar"
    texts = ["the cat on the mat", "the deep blue sea"]
    assert answers(archive, tmp_path / "served", texts) == ["cats", "seas"]
    assert main(["train", "classifier", "animals", *store, *way]) == 0


def test_both_engines_serve_a_head(store: list[str], tmp_path: Path) -> None:
    """The twin of torch says what the archive of ctranslate2 says."""
    assert main(["train", "classifier", "animals", *store]) == 0
    places = store[3:7]
    assert main(["pack", "animals-torch", *places]) == 0
    texts = [*GOOD, *BAD]
    found = [
        answers(tmp_path / f"archives/{name}.mar", tmp_path / name, texts)
        for name in ("animals", "animals-torch")
    ]
    assert found[0] == found[1] == ["cats"] * 4 + ["seas"] * 4


def test_a_folder_is_a_base(store: list[str], tmp_path: Path) -> None:
    """An encoder that is in no catalog; its licence has to be said by whoever knows it."""
    options = [*store, "--base", str(tmp_path / "bert"), "--licence", "MIT"]
    assert main(["train", "classifier", "own", *options]) == 0
    entry = load_entry(tmp_path / "catalog/own.yaml")
    assert (entry.licence, entry.languages) == ("MIT", ["und"])


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("Bad Name", [], "is no name for a model"),
        ("small", [], "describes another model"),
        ("new", ["--base", "nothing"], "neither a model of"),
        ("new", ["--base", "distilbert"], "has a head already"),
    ],
)
def test_wishes_that_cannot_be_met(
    store: list[str],
    *,
    name: str,
    more: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence, status 1, nothing written."""
    save_tiny("distilbert", tmp_path / "distilbert")
    more = [str(tmp_path / m) if m == "distilbert" else m for m in more]
    assert main(["train", "classifier", name, *store, *more]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "trained" / name).exists()
    assert not (tmp_path / "archives").exists()


def test_a_bad_table_trains_nothing(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is named, and the old model stays."""
    Path(store[0]).write_text("text,label\nx\n")
    assert main(["train", "classifier", "animals", *store]) == 1
    assert "line 2: 1 cells, the header has 2" in capsys.readouterr().err
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize(
    "words",
    [["train"], ["train", "poems"], ["train", "dates", "--size", "huge"], ["train", "dates", "--steps", "0"],
     ["train", "classifier", "x", "y.csv", "--held-out", "1"]],
)  # fmt: skip
def test_wrong_commands_are_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage: isocost models train" in capsys.readouterr().err


def test_dates_before_they_are_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packing says which command makes the weights."""
    from model_store.load import CATALOG

    (tmp_path / "catalog").mkdir()
    text = (CATALOG / "dates-en-de.yaml").read_text()
    (tmp_path / "catalog/dates-en-de.yaml").write_text(text)
    options = ["--catalog", str(tmp_path / "catalog"), "--archives", str(tmp_path / "archives")]
    assert main(["pack", "dates-en-de", *options]) == 1
    assert "make it: isocost models train dates" in capsys.readouterr().err
