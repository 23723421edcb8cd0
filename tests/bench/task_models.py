"""Which models serve the local tasks here, gathered in one folder of archives for one TorchServe."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from model_store.load import choose, load_catalog
from model_store.pack import Places, pack
from model_store.train.cli import TRAINED
from model_store.train.closed import Teacher
from model_store.train.dates import NAMES, held_out, make_tokenizer
from serving.worker.speak_phonemes import Espeak

from .scale import Room

VOICE, EAR, EYE, READER = "piper-joe", "whisper-base", "vision", "minilm"
HELD_OUT = 100
SEED = 1
"""Of the held-out sentences; training draws with another."""
COUNT = dict(zip(("one", "two", "three", "four"), ("eins", "zwei", "drei", "vier"), strict=True))


@dataclass(frozen=True)
class Closed:
    """A model of a closed language, sentences of it, and what these sentences are."""

    model: str
    pairs: dict[str, str]
    what: str


def gather(room: Room) -> tuple[Room, Closed, list[str]]:
    """A room whose archives are those of the tasks, the translation model, and the models' names.

    What is not packed, or cannot run here, is left out: its task says so.
    """
    folder = room.folder / "archives"
    folder.mkdir()
    closed = _translation(room, folder)
    voice = () if voice_lacks() else (VOICE,)
    for name in (closed.model, *voice, EAR, EYE, READER):
        packed, here = room.archives / f"{name}.mar", folder / f"{name}.mar"
        if packed.is_file() and not here.exists():
            here.symlink_to(packed)
    names = sorted(file.stem for file in folder.glob("*.mar"))
    return replace(room, archives=folder), closed, names


def voice_lacks() -> str:
    """What the voice needs that is not here, and how to get it; empty where it has all."""
    try:
        Espeak("en-us").close()
    except RuntimeError as exc:
        return str(exc)
    return ""


def _translation(room: Room, folder: Path) -> Closed:
    """The dates if they were trained, the full net before the small one; else a net for now."""
    for name in NAMES.values():
        if (room.archives / f"{name}.mar").is_file():
            return _dates(name)
    for name in NAMES.values():
        if (TRAINED / name).is_dir():
            entry, engine = choose(load_catalog(), name, None)
            pack(entry, engine, Places(archives=folder))
            return _dates(name)
    _pack_count(room.folder, folder)
    return Closed("count", COUNT, f"the {len(COUNT)} sentences it was taught")


def _dates(name: str) -> Closed:
    teacher, pairs = Teacher(SEED), dict[str, str]()
    while len(pairs) < HELD_OUT:
        drawn = teacher.draw()
        if held_out(drawn):
            pairs[drawn.english] = drawn.german
    return Closed(name, pairs, f"{HELD_OUT} held-out sentences")


def _pack_count(room: Path, folder: Path) -> None:
    """An nn.Transformer that counts to four, trained on the spot in a second or two."""
    import torch
    from safetensors.torch import save_file

    from model_store.entry import Entry
    from model_store.train.transformer import Recipe, Shape, TextTransformer, fit

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = room / "count"
    net.mkdir()
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(net)
    shape = Shape(
        len(tokenizer),
        d_model=32,
        nhead=4,
        num_encoder_layers=1,
        num_decoder_layers=1,
        dim_feedforward=64,
        max_length=16,
    )
    model = TextTransformer(shape)
    rows = [(tokenizer(a)["input_ids"], tokenizer(b)["input_ids"]) for a, b in COUNT.items()]
    for _ in fit(model, Recipe(steps=120, rate=5e-3, warmup=10), lambda _: rows):
        pass
    save_file(model.state_dict(), net / "model.safetensors")
    (net / "config.json").write_text(json.dumps(shape.config()))
    domain = {"pattern": "|".join(COUNT), "says": "one to four", "lower": True}
    (net / "domain.json").write_text(json.dumps(domain))
    entry = Entry.model_validate(
        {
            "name": "count",
            "summary": "For the benchmark.",
            "tasks": ["translate"],
            "source": {"kind": "folder", "path": str(net)},
            "licence": "Apache-2.0",
            "languages": ["en", "de"],
            "context": 15,
            "engine": "torch",
            "engines": {"torch": {}},
            "translation": {"sources": {"en": "English"}, "targets": {"de": "German"}},
        }
    )
    pack(entry, "torch", Places(archives=folder, cache=room / "cache"))
