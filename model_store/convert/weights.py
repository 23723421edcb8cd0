"""Weights as safetensors: GGUF and pickled ones are rewritten, those of Transformers in float32.

Loading a GGUF takes a minute where safetensors take a second, and a pickle can run code; so this is
done once, when packing, and the worker reads safetensors only.
"""

import gc
import io
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path, PurePosixPath
from typing import Any

from model_store.errors import ConversionError, reason

TENSORS = (".safetensors",)
OTHER_WEIGHTS = (
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".tflite",
    ".pkl",
)
STATE_DICT = "state_dict.pt"  # of a module of torch's own, as `torch.save` writes it
PROSE = (".md", ".gitattributes", ".png", ".jpg", ".svg", ".pdf", ".py")


def is_tensor_file(name: str) -> bool:
    """Weights, or the index of weights in several files."""
    return name.endswith((*TENSORS, ".safetensors.index.json"))


def is_side_file(name: str) -> bool:
    """What stands beside the weights: configuration, tokenizer, chat template, label names."""
    return not is_tensor_file(name) and not name.lower().endswith((*OTHER_WEIGHTS, *PROSE))


def needs_rewriting(names: list[str]) -> bool:
    """Whether the weights are there, but not as safetensors."""
    return not any(map(is_tensor_file, names)) and _weights(names) is not None


def _weights(names: list[str]) -> str | None:
    gguf = [name for name in names if name.endswith(".gguf")]
    if len(gguf) > 1:
        raise ConversionError(
            f"There are several GGUF files ({', '.join(gguf)}); list one under source.files."
        )
    pickled = (name for name in ("pytorch_model.bin", STATE_DICT) if name in names)
    return next(iter(gguf), next(pickled, None))


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """The library, without its advice and bars, and without its looking anything up on the hub."""
    offline = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        # The loaders of weights draw bars of their own, whatever they are told.
        with redirect_stderr(io.StringIO()):
            import transformers  # noqa: PLC0415 - seconds, only where needed

            transformers.utils.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            yield transformers
    finally:
        if offline is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = offline


def to_safetensors(files: dict[str, Path], into: Path) -> None:
    """A Hugging Face folder with float32 safetensors. Raises: ConversionError."""
    weights = _weights(list(files))
    if weights is None:
        raise ConversionError("There are no weights to convert (.gguf or pytorch_model.bin).")
    try:
        with quiet_transformers() as transformers:
            if weights.endswith(".gguf"):
                _from_gguf(transformers, files[weights], into)
            elif weights == STATE_DICT:
                _from_state_dict(files[weights], into)
            else:
                _from_pickle(transformers, files[weights].parent, into)
    except (ImportError, ValueError, OSError, RuntimeError, KeyError, AttributeError) as error:
        raise ConversionError(f"Transformers cannot convert {weights}: {reason(error)}") from error
    for name, file in files.items():
        # What the source brought wins over what Transformers derived, but for the configuration.
        derived = name == "config.json" and (into / name).exists()
        if is_side_file(name) and not derived:
            (into / PurePosixPath(name)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, into / name)


def _from_gguf(transformers: Any, file: Path, into: Path) -> None:
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": str(file.parent),
        "gguf_file": file.name,
    }
    # The tokenizer writes this down in its configuration: it must not depend on the environment.
    where |= {"local_files_only": True}
    # Reading the header takes seconds each time: the configuration is handed on, and the
    # tokenizer's class is named, because AutoTokenizer would read the header to find it.
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(**where)
    config = transformers.AutoConfig.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        **where, config=config, dtype="float32"
    )
    # Transformers saves no model that came from GGUF; the weights are plain float32 by now.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)


def _from_state_dict(file: Path, into: Path) -> None:
    import torch  # noqa: PLC0415 - seconds, only where needed
    from safetensors.torch import save_file  # noqa: PLC0415

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"it holds more than tensors ({reason(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError("it is no state dict, which maps names to tensors")
    # Weights that two names share are written twice: the file knows no sharing.
    save_file(
        {name: value.detach().clone().contiguous() for name, value in state.items()},
        into / "model.safetensors",
    )


def _from_pickle(transformers: Any, folder: Path, into: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, (config.architectures or ["AutoModel"])[0])
    kind.from_pretrained(folder, dtype="float32").save_pretrained(into)


@contextmanager
def frozen_objects() -> Iterator[None]:
    """The garbage collector leaves alone what is alive now.

    A converter that collects after each layer walks millions of tokenizer entries each time: 30 s
    instead of 4 s for a model of 30 layers.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
