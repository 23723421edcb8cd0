"""Translation and trained models, packed by the model store, through a real TorchServe."""

import json
import signal
import threading
from pathlib import Path

import pytest
import torch
import translate_models as tiny
from test_torchserve import Served

from model_store.entry import Entry
from model_store.pack import Places, pack
from model_store.train.dates import make_tokenizer
from model_store.train.transformer import END, Recipe, Shape, TextTransformer, fit

pytestmark = [pytest.mark.system, pytest.mark.serving, pytest.mark.xdist_group("torchserve")]
COUNT = dict(zip(("one", "two", "three", "four"), ("eins", "zwei", "drei", "vier"), strict=True))


def count_net(folder: Path) -> Path:
    """An nn.Transformer that counts to four, trained on the spot."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder.mkdir()
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    shape = Shape(
        len(tokenizer), d_model=32, nhead=4, num_encoder_layers=1, num_decoder_layers=1,
        dim_feedforward=64, max_length=16,
    )  # fmt: skip
    model = TextTransformer(shape)
    rows = [(tokenizer(a)["input_ids"], tokenizer(b)["input_ids"]) for a, b in COUNT.items()]
    assert all(row[0][-1] == row[1][-1] == END for row in rows)
    losses = list(fit(model, Recipe(steps=120, rate=5e-3, warmup=10), lambda _: rows))
    assert losses[-1] < 0.05
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(shape.config()))
    domain = {"pattern": "|".join(COUNT), "says": "one to four", "lower": True}
    (folder / "domain.json").write_text(json.dumps(domain))
    return folder


def packed(name: str, folder: Path, archives: Path, languages: dict, engine: str) -> None:
    entry = Entry.model_validate(
        {
            "name": name,
            "summary": "For a test.",
            "tasks": ["translate"],
            "source": {"kind": "folder", "path": str(folder)},
            "licence": "Apache-2.0",
            "languages": ["en", "de"],
            "context": 15 if name == "count" else 64,
            "engine": engine,
            "engines": {engine: {}},
            "handler": {"threads": 1},
            "translation": languages,
        }
    )
    pack(entry, engine, Places(archives=archives, cache=archives.parent / "cache"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translate")
    archives = folder / "mar"
    archives.mkdir()
    pair = {"sources": {"en": "English"}, "targets": {"de": "German"}}
    packed("count", count_net(folder / "count"), archives, pair, "torch")
    marian = tiny.marian(folder / "marian")
    packed("marian", marian, archives, pair, "ctranslate2")
    packed("marian-slow", marian, archives, pair, "torch")
    server = Served(folder)
    try:
        server.wait_ready(120)
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)


def ask(served, model, texts, **more):
    said = {"task": "translate", "texts": texts, "target": "de", "source": "en", **more}
    status, body = served.ask(model, **said)
    return status, json.loads(body)


@pytest.mark.parametrize("model", ["marian", "marian-slow"])
def test_callers_at_once_get_their_own_sentences(served, model):
    """One asks for what the model cannot do, and is refused alone."""
    found = {}

    def one(index):
        texts = list(tiny.PAIRS)[index % 4 :]
        more = {"formality": "more"} if index == 2 else {}
        found[index] = (texts, *ask(served, model, texts, **more))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for index, (texts, status, body) in found.items():
        if index == 2:
            assert (status, body["code"]) == (400, "unsupported")
            continue
        assert status == 200
        assert [t["text"] for t in body["translations"]] == [tiny.PAIRS[text] for text in texts]
        assert body["usage"] == {"characters": sum(map(len, texts))}
        assert body["model"] == model


def test_the_closed_domain_is_served_and_nothing_else(served):
    """What it learned comes out right; a neighbour of the domain is refused before the net."""
    status, body = ask(served, "count", ["Three", "one\ntwo"], source=None)
    assert status == 200
    assert body["translations"] == [
        {"text": "drei", "detected_source": "en"},
        {"text": "eins\nzwei", "detected_source": "en"},
    ]
    status, body = ask(served, "count", ["five"])
    assert (status, body["code"]) == (400, "unsupported")
    assert "one to four" in body["message"]


def test_every_model_answers_its_canary_by_translating(served):
    """The supervisor asks for a pair of languages that the model has."""
    report = served.status()["models"]
    assert {name: each["ready"] for name, each in report.items()} == dict.fromkeys(
        ("count", "marian", "marian-slow"), True
    )
    from serving.supervisor.probe import canary_fields, canary_task

    file = served.archives / "marian.mar"
    assert canary_task(file) == "translate"
    assert canary_fields(file) == {"source": "en", "target": "de"}
