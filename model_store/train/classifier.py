"""`isocost models train classifier`: from a CSV to a catalog entry and its archive."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from model_store.cache import cache_folder, made_once
from model_store.checksums import names_inside
from model_store.entry import Entry
from model_store.errors import CatalogError, StoreError, reason
from model_store.fetch import fetch
from model_store.load import choose, load_catalog, load_entry
from model_store.pack import Places
from model_store.progress import step_bar
from model_store.train.table import Row, Score, read_table, score, split

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; `base` is a name of the catalog or a folder."""

    name: str
    table: Path
    base: str = "minilm"
    whole: bool = False
    held_out: float = 0.2
    epochs: int = 3
    rate: float = 5e-5
    seed: int = 0
    licence: str | None = None


@dataclass(frozen=True)
class Base:
    """The model that is trained on: its files, and what its entry says."""

    name: str
    folder: Path
    licence: str
    languages: tuple[str, ...]
    context: int
    pooling: str
    fast: bool  # whether ctranslate2 can run it


@dataclass(frozen=True)
class Lesson:
    """All that teaching needs; `held` are texts to guess, not to learn from."""

    wish: Wish
    base: Base
    labels: list[str]
    learn: list[Row]
    held: list[str]

    @property
    def texts(self) -> list[str]:
        """To learn from."""
        return [row.text for row in self.learn]

    @property
    def classes(self) -> list[int]:
        """The number of each text's label."""
        return [self.labels.index(row.label) for row in self.learn]


def train(wish: Wish, places: Places, trained: Path) -> tuple[Entry, Score, float]:
    """The entry that was written, the held-out score, and the seconds that training took.

    Raises: StoreError; nothing is left behind then.
    """
    if not NAME.fullmatch(wish.name):
        raise CatalogError(f"{wish.name!r} is no name for a model: small letters, digits and .-_")
    file = places.catalog / f"{wish.name}.yaml"
    folder = trained / wish.name
    if file.exists() and not _is_ours(file, folder, places.catalog):
        raise CatalogError(f"{file} describes another model; choose a new name.")
    rows = read_table(wish.table)
    learn, held = split(rows, wish.held_out, wish.seed)
    base = _base(wish, places)
    labels = sorted({row.label for row in rows})
    begun = time.monotonic()
    found: list[Score] = []

    def make(part: Path) -> None:
        teach = _whole if wish.whole else _head
        guesses = teach(Lesson(wish, base, labels, learn, [row.text for row in held]), part)
        found.append(score([row.label for row in held], guesses))
        about = {
            "base": base.name,
            "kind": "whole model" if wish.whole else "head",
            "table": wish.table.name,
            "seed": wish.seed,
            "training_texts": len(learn),
            "held_out": asdict(found[0]),
        }
        _write(part / "training.json", json.dumps(about, indent=1) + "\n")

    made_once(folder, make, again=True)
    raw = _entry(wish, base, labels, (len(learn), found[0]), _from(places.catalog, folder))
    _write(file, yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120))
    return load_entry(file), found[0], time.monotonic() - begun


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _from(catalog: Path, folder: Path) -> str:
    """The folder as an entry names it: from the catalog's folder."""
    return Path(os.path.relpath(folder.resolve(), catalog.resolve())).as_posix()


def _is_ours(file: Path, folder: Path, catalog: Path) -> bool:
    source = load_entry(file).source
    path = getattr(source, "path", None)
    return path is not None and (catalog / path).resolve() == folder.resolve()


def _base(wish: Wish, places: Places) -> Base:
    entries = load_catalog(places.catalog)
    if wish.base in entries:
        entry, _ = choose(entries, wish.base, None)
        folder = fetch(entry, places.cache or cache_folder(), places.catalog)
        said: dict[str, Any] = {
            "licence": entry.licence,
            "languages": tuple(entry.languages),
            "context": entry.context,
            "pooling": entry.handler.pooling or "mean",
            "fast": "ctranslate2" in entry.engines,
        }
    elif (Path(wish.base) / "config.json").is_file():
        folder = Path(wish.base).resolve()
        config = json.loads((folder / "config.json").read_bytes())
        said = {
            "licence": wish.licence or "as its base",
            "languages": ("und",),
            "context": int(config.get("max_position_embeddings") or 512),
            "pooling": "mean",
            "fast": config.get("model_type") in {"bert", "distilbert"},
        }
    else:
        raise CatalogError(
            f"{wish.base!r} is neither a model of {places.catalog} nor a folder with a config.json."
        )
    config = json.loads((folder / "config.json").read_bytes())
    heads = [a for a in config.get("architectures") or [] if a.endswith("Classification")]
    if heads and not wish.whole:
        raise CatalogError(f"{wish.base} has a head already ({heads[0]}); train it with --whole.")
    if said["pooling"] not in {"mean", "cls"} and not wish.whole:
        raise CatalogError(f"A head cannot be trained over {said['pooling']} pooling; use --whole.")
    return Base(name=wish.base, folder=folder, **said)


def _head(lesson: Lesson, part: Path) -> list[str]:
    """A linear layer over embeddings of the frozen base; guesses for the held-out texts."""
    from model_store.train import head  # noqa: PLC0415 - torch: seconds, only where needed

    base, labels, many = lesson.base, lesson.labels, len(lesson.learn)
    texts = [*lesson.texts, *lesson.held]
    with step_bar("Reading the texts", -(-len(texts) // 32)) as step, _told_by(base):
        vectors = head.embeddings(
            base.folder, texts, context=base.context, pooling=base.pooling, step=lambda: step("")
        )
    weight, bias = head.fit_head(vectors[:many], lesson.classes, len(labels), seed=lesson.wish.seed)
    best = (vectors[many:] @ weight.T + bias).argmax(-1).tolist()
    for name in names_inside(base.folder):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.folder / name, part / name)
    said = {"labels": labels, "weight": weight.tolist(), "bias": bias.tolist(), "normalize": True}
    _write(part / "head.json", json.dumps(said) + "\n")
    return [labels[index] for index in best]


def _whole(lesson: Lesson, part: Path) -> list[str]:
    """All weights of the base under a new head; guesses for the held-out texts."""
    from model_store.train import head  # noqa: PLC0415

    wish, base = lesson.wish, lesson.base
    with _told_by(base):
        model = head.Whole(base.folder, lesson.labels, context=base.context, seed=wish.seed)
        with step_bar("Training", wish.epochs * -(-len(lesson.learn) // head.BATCH)) as step:
            model.fit(
                lesson.texts,
                lesson.classes,
                epochs=wish.epochs,
                rate=wish.rate,
                step=lambda: step(""),
            )
    model.save(part)
    return model.guess(lesson.held)


@contextmanager
def _told_by(base: Base) -> Iterator[None]:
    """What Transformers says of a base that it cannot use, as a sentence of ours."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{base.name} cannot be trained: {reason(error)} Choose an encoder (BERT, DistilBERT)."
        ) from error


def _entry(
    wish: Wish, base: Base, labels: Sequence[str], result: tuple[int, Score], path: str
) -> dict[str, Any]:
    texts, found = result
    names = ", ".join(labels[:6]) + (", ..." if len(labels) > 6 else "")
    fast = base.fast and not wish.whole
    kind = "a whole model" if wish.whole else "a head"
    engines = {"ctranslate2": {"quantization": "int8"}, "torch": {}}
    handler = {} if wish.whole else {"handler": {"pooling": base.pooling, "normalize": True}}
    return {
        "name": wish.name,
        "summary": (
            f"Labels {names}; {kind} on {base.name}, trained on {texts} texts of "
            f"{wish.table.name}. Of {found.texts} held-out texts "
            f"{found.accuracy:.1%} right, macro F1 {found.macro_f1:.3f} "
            f"(the commonest label alone: {found.commonest:.1%})."
        ),
        "tasks": ["classify"],
        "source": {"kind": "folder", "path": path},
        "licence": base.licence,
        "languages": list(base.languages),
        "context": base.context,
        "engine": "ctranslate2" if fast else "torch",
        "engines": engines if fast else {"torch": {}},
        **handler,
    }
