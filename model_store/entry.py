"""One entry of the catalog: the format of `catalog/<model>.yaml`.

An entry says what a model is, where its bytes come from, how it is packed for each engine it can
run on, and what was measured. Unknown keys are refused (`load.py` adds where, and the nearest key).
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from model_store.sources import Source, Strict, Text

Task = Literal[
    "chat", "complete", "embed", "classify", "translate", "speak", "transcribe", "annotate"
]
Engine = Literal["torch", "ctranslate2", "onnxruntime"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Count = Annotated[int, Field(ge=1)]


class Figure(Strict):
    """One measured number, e.g. 73 tokens per second with one call at a time."""

    what: Text
    value: float
    unit: Text
    when: Text | None = None


class Measured(Strict):
    """Figures of one day on one kind of machine; `distance` is how far from float32 answers are."""

    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]
    machine: Text
    figures: Annotated[list[Figure], Field(min_length=1)]
    distance: Text


class EngineSettings(Strict):
    """How the model is packed for one engine.

    The megabytes are the archive's, and the peak of a process that runs the engine and no more.

    `smoothing` (0 to 1) shifts what is hard to round from activations to weights
    (`convert/smooth.py`); for ctranslate2 with int8 only.
    """

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["int8", "none"] = "none"
    smoothing: Annotated[float, Field(ge=0, le=1)] | None = None
    archive_megabytes: Count | None = None
    memory_megabytes: Count | None = None
    measured: Measured | None = None


class Serving(Strict):
    """TorchServe's own settings of a model, under its own names (`batchSize`, ...).

    What is left out is taken from the handler kind in `serving/ARCHIVE.yaml`.
    """

    model_config = ConfigDict(alias_generator=to_camel)

    min_workers: Count | None = None
    max_workers: Count | None = None
    batch_size: Count | None = None
    max_batch_delay: Annotated[int, Field(ge=0)] | None = None
    job_queue_size: Count | None = None
    response_timeout: Count | None = None
    startup_timeout: Count | None = None
    continuous_batching: bool | None = None


class Handler(Strict):
    """Our own settings of the worker; what is left out is the handler's default."""

    max_batch: Count | None = None
    pooling: Literal["mean", "cls", "max", "last"] | None = None
    normalize: bool | None = None
    threads: Annotated[int, Field(ge=0)] | None = None
    compile: bool | None = None
    attention: Text | None = None
    tf32: bool | None = None
    waves: Count | None = None
    spread: Annotated[int, Field(ge=0)] | None = None
    piece_seconds: Annotated[float, Field(ge=0)] | None = None
    sharpness: float | None = None
    hypotheses: Annotated[list[Text], Field(min_length=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    voices: Annotated[list[Text], Field(min_length=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None


class Translation(Strict):
    """For the task translate: from which languages to which, and how the model is told.

    `sources` and `targets` map BCP 47 tags to the model's own names of the languages: words for
    `steering: prefix` (T5: `translate {source} to {target}: `, Marian for several targets:
    `>>{target}<< `), codes for `steering: tokens` (M2M100, NLLB, mBART). Marian for one pair of
    languages needs no steering.
    """

    sources: Annotated[dict[Text, Text], Field(min_length=1)]
    targets: Annotated[dict[Text, Text], Field(min_length=1)]
    steering: Literal["none", "prefix", "tokens"] = "none"
    prefix: Text | None = None
    beams: Count | None = None
    growth: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_told_apart(self) -> "Translation":
        if self.steering == "none" and len(self.targets) > 1:
            raise ValueError("several targets need steering: prefix or tokens")
        if (self.steering == "prefix") != (self.prefix is not None):
            raise ValueError("prefix goes with steering: prefix, and only with it")
        if self.prefix is not None and "{target}" not in self.prefix:
            raise ValueError("prefix must hold {target}")
        return self


class Entry(Strict):
    """One model: `engine` is the one packed unless another of `engines` is asked for."""

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")] = "1.0"
    default: bool = False
    summary: Text
    tasks: Annotated[list[Task], Field(min_length=1)]
    source: Source
    licence: Text
    languages: Annotated[list[Text], Field(min_length=1)]
    context: Count
    engine: Engine
    engines: dict[Engine, EngineSettings]
    serving: Serving = Serving()
    handler: Handler = Handler()
    translation: Translation | None = None

    @model_validator(mode="after")
    def _engine_is_described(self) -> "Entry":
        if self.engine not in self.engines:
            raise ValueError(f"engine {self.engine} is not described under engines")
        for name, settings in self.engines.items():
            smoothed = settings.smoothing is not None
            if smoothed and (name, settings.quantization) != ("ctranslate2", "int8"):
                raise ValueError(f"engines.{name}.smoothing is for ctranslate2 with int8 only")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks names a task twice")
        if ("translate" in self.tasks) != (self.translation is not None):
            raise ValueError("translation goes with the task translate, and only with it")
        return self

    @property
    def pinned(self) -> bool:
        """Whether every byte is known beforehand by its checksum."""
        return self.source.files != "unpinned"

    def archive_name(self, engine: Engine) -> str:
        """`minilm` for the engine of choice, `minilm-torch` for its twin on another."""
        return self.name if engine == self.engine else f"{self.name}-{engine}"
