"""What model-config.yaml says under `handler:`, checked once when the worker starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

Task = Literal[
    "chat", "complete", "embed", "classify", "translate", "speak", "transcribe", "annotate"
]
Pooling = Literal["mean", "cls", "max", "last"]


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """Between which languages a model translates, and how it is told.

    `sources` and `targets` map BCP 47 tags to the model's own names of them. `steering` is how it
    learns of the target: `none` (it knows one only), `prefix` (words before each line, with
    {source} and {target} in them) or `tokens` (the tokenizer's marks: the source's in the line, the
    target's at the start of the translation). `beams` left out is what the model's makers say, else
    1. `growth` bounds a translation's tokens by those of its source.
    """

    sources: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    targets: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    steering: Literal["none", "prefix", "tokens"] = "none"
    prefix: str = ""
    beams: Annotated[int, msgspec.Meta(ge=1)] | None = None
    growth: Annotated[float, msgspec.Meta(gt=0)] = 3.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One model's settings; unknown keys are left to other readers of the file.

    `context` and `max_batch` bound one request (tokens) and one pass of the engine (rows).
    `threads` 0 means: the cores of this process divided by the workers of this model.
    `waves` is how many batches ctranslate2 runs beside each other, `spread` how many tokens the
    prompts of one such batch may differ in length. `temperature` and `top_p` hold for requests that
    name none: what the model's makers recommend. `piece_seconds` is the longest time that text
    is held back to be sent with more text. In zero-shot classification a label stands for the mean
    of its `hypotheses`, and `sharpness` scales the similarities before the softmax. Of `voices` the
    first speaks where a request names none; `max_seconds` bounds one recording.
    """

    name: str = ""
    version: str = ""
    task: tuple[Task, ...] = ()
    engine: Literal["torch", "ctranslate2", "onnxruntime"] = "torch"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["int8", "none"] | None = None
    context: int | None = None
    max_batch: int = 32
    pooling: Pooling | None = None
    normalize: bool = True
    threads: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    compile: bool = False
    attention: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    tf32: bool = False
    waves: int = 4
    spread: int = 16
    piece_seconds: float = 0.03
    sharpness: float = 20.0
    voices: tuple[str, ...] = ()
    max_seconds: float = 1800.0
    hypotheses: tuple[str, ...] = ("This is {}.", "a {} message")
    translation: Translation | None = None


def read_settings(config: Mapping[str, Any] | None, model_name: str) -> Settings:
    """Settings from TorchServe's parsed model-config.yaml.

    Raises: ValueError naming the key that is wrong; the worker then fails to start.
    """
    raw = dict((config or {}).get("handler") or {})
    if isinstance(raw.get("task"), str):
        raw["task"] = [raw["task"]]
    raw["name"] = str(raw.get("name") or model_name)
    raw["version"] = str(raw.get("version") or "")
    try:
        return msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        message = f"model-config.yaml, handler: {error}"
        raise ValueError(message) from error


def read_pooling(settings: Settings, model_dir: Path) -> Pooling:
    """The pooling that the model was trained with, unless the settings name one.

    Source: sentence-transformers keeps it in `1_Pooling/config.json`.
    """
    if settings.pooling:
        return settings.pooling
    file = model_dir / "1_Pooling" / "config.json"
    said = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    if said.get("pooling_mode_cls_token"):
        return "cls"
    if said.get("pooling_mode_max_tokens"):
        return "max"
    if said.get("pooling_mode_lasttoken"):
        return "last"
    return "mean"
