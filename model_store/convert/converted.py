"""From fetched files to the `model/` folder of an archive, for one engine.

1. Weights become safetensors, if they are not (GGUF is slow to load, a pickle unsafe).
2. torch reads that folder; for ctranslate2 its weights are replaced by `ct2/`, rounded if asked.

Models that come as their engine reads them skip both (`ready.py`).

Each step is kept in the cache under a hash of its inputs: files, settings, versions of converters.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from model_store.cache import made_once
from model_store.checksums import digest, names_inside
from model_store.convert.ct2 import to_ctranslate2
from model_store.convert.ready import ready
from model_store.convert.weights import (
    is_side_file,
    is_tensor_file,
    needs_rewriting,
    to_safetensors,
)
from model_store.entry import Engine, Entry
from model_store.errors import ConversionError
from model_store.progress import spinner

CONVERTERS = ("transformers", "ctranslate2", "gguf")


def versions() -> dict[str, str]:
    """What decides how a conversion turns out: versions of packages, and a hash of our own code."""
    code = [digest(file) for file in sorted(Path(__file__).parent.glob("*.py"))]
    found = {"convert": hashlib.sha256("".join(code).encode()).hexdigest()}
    for package in CONVERTERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def converted(entry: Entry, engine: Engine, fetched: Path, cache: Path) -> dict[str, Path]:
    """The files of the archive's `model/` folder: path inside it -> file on this machine.

    Raises: ConversionError.
    """
    names = _names(entry, fetched)
    files = {name: fetched / name for name in names}

    def once(word: str, inputs: Mapping[str, Path], make: Callable[[Path], None]) -> Path:
        return made_once(cache / "converted" / f"{entry.name}-{_key(inputs)}-{word}", make)

    found = ready(engine, files, once)
    if found is not None:
        return found
    if not needs_rewriting(names):
        plain = {
            name: fetched / name for name in names if is_side_file(name) or is_tensor_file(name)
        }
    else:
        plain = _rewritten(entry, files, cache)
    if not any(is_tensor_file(name) for name in plain):
        raise ConversionError(
            f"{entry.source} holds no weights that can be packed (.safetensors, .gguf, .bin)."
        )
    if engine == "torch":
        return plain
    return _with_ct2(entry, plain, cache)


def _names(entry: Entry, fetched: Path) -> list[str]:
    pinned = entry.source.files
    return names_inside(fetched) if isinstance(pinned, str) else sorted(pinned)


def _rewritten(entry: Entry, files: dict[str, Path], cache: Path) -> dict[str, Path]:
    folder = cache / "converted" / f"{entry.name}-{_key(files)}-safetensors"

    def make(part: Path) -> None:
        with spinner(f"Converting {entry.name} to safetensors, once"):
            to_safetensors(files, part)

    made_once(folder, make)
    return {name: folder / name for name in names_inside(folder)}


def _with_ct2(entry: Entry, files: dict[str, Path], cache: Path) -> dict[str, Path]:
    settings = entry.engines["ctranslate2"]
    kind = settings.quantization + ("" if settings.smoothing is None else f"-{settings.smoothing}")
    folder = cache / "converted" / f"{entry.name}-{_key(files)}-ct2-{kind}"

    def make(part: Path) -> None:
        with spinner(f"Converting {entry.name} to ctranslate2 ({settings.quantization}), once"):
            to_ctranslate2(files, part, settings, entry.name)

    made_once(folder, make)
    side = {name: file for name, file in files.items() if is_side_file(name)}
    return side | {name: folder / name for name in names_inside(folder)}


def _key(files: Mapping[str, Path]) -> str:
    inputs = {name: digest(file) for name, file in files.items()}
    text = json.dumps([inputs, versions()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
