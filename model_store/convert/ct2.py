"""Hugging Face folders as CTranslate2 models, weights rounded to int8 where asked for."""

import json
import tempfile
from pathlib import Path
from typing import Any

from model_store.convert.smooth import smooth
from model_store.convert.weights import frozen_objects, quiet_transformers
from model_store.entry import EngineSettings
from model_store.errors import ConversionError, reason


def to_ctranslate2(files: dict[str, Path], into: Path, settings: EngineSettings, name: str) -> None:
    """`model.bin`, `config.json` and the vocabulary, in `into/ct2`.

    Guarantee: the same files give the same bytes.
    Raises: ConversionError where CTranslate2 has no converter for the architecture, or where it has
    one that would silently leave the classification head out.
    """
    _check_head(files, name)
    with tempfile.TemporaryDirectory(dir=into, prefix=".hf-") as temporary:
        for inside, file in files.items():
            link = Path(temporary) / inside
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        _name_the_positions(Path(temporary) / "config.json")
        try:
            _convert(temporary, into / "ct2", settings)
        except (
            ImportError,
            ValueError,
            KeyError,
            AttributeError,
            AssertionError,
            RuntimeError,
        ) as error:
            why = reason(error).split(" (supported")[0].removesuffix(".")
            raise ConversionError(
                f"CTranslate2 cannot run {name}: {why}. Pack it with --engine torch."
            ) from error


def _convert(folder: str, into: Path, settings: EngineSettings) -> None:
    with quiet_transformers() as transformers:
        import torch  # noqa: PLC0415 - seconds, only where needed
        from ctranslate2.converters import TransformersConverter  # noqa: PLC0415

        # A pooler that is missing in the file gets random weights; they must be the same each time.
        torch.manual_seed(0)

        class SmoothConverter(TransformersConverter):  # its parent is imported late
            def load_model(self, kind: Any, folder: str, **options: Any) -> Any:
                model = super().load_model(kind, folder, **options)
                if settings.smoothing is not None:
                    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                    smooth(model, tokenizer, settings.smoothing)
                return model

            def load_tokenizer(self, kind: Any, folder: str, **options: Any) -> Any:
                tokenizer = super().load_tokenizer(kind, folder, **options)
                marks = getattr(tokenizer, "id_to_lang_token", None)
                return _WithMarks(tokenizer, marks) if marks else tokenizer

        with frozen_objects():
            converter = SmoothConverter(folder)
            rounding = None if settings.quantization == "none" else settings.quantization
            converter.convert(str(into), quantization=rounding)


class _WithMarks:
    """M2M100's tokenizer, with its language tokens where Transformers 4 named them.

    CTranslate2 4.8 looks there for the part of the vocabulary that `get_vocab` leaves out.
    """

    def __init__(self, tokenizer: Any, marks: dict[int, str]) -> None:
        self._tokenizer = tokenizer
        tokens = [token for _, token in sorted(marks.items())]
        self.special_tokens_map = {
            **tokenizer.special_tokens_map,
            "additional_special_tokens": tokens,
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _name_the_positions(file: Path) -> None:
    config = json.loads(file.read_bytes())
    file.unlink()
    # The converter of BERT asks for a key that Transformers 5 no longer writes.
    file.write_text(json.dumps({"position_embedding_type": "absolute"} | config), encoding="utf-8")


def _check_head(files: dict[str, Path], name: str) -> None:
    if "config.json" not in files:
        raise ConversionError(f"{name} has no config.json, so its architecture is unknown.")
    config = json.loads(files["config.json"].read_bytes())
    heads = [a for a in config.get("architectures") or [] if a.endswith("Classification")]
    if heads:
        raise ConversionError(
            f"CTranslate2 would leave out the classification head of {name} ({heads[0]}). "
            "Pack it with --engine torch."
        )
