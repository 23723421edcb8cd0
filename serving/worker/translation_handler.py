"""TorchServe handler for translate, with dynamic batching over requests and their texts."""

import os
from pathlib import Path
from typing import Any

import msgspec

from serving.worker.device import (
    choose_compute_type,
    choose_device,
    choose_dtype,
    choose_threads,
)
from serving.worker.domain import read_domain
from serving.worker.prompts import end_tokens, load_tokenizer, longest_context
from serving.worker.quiet import quiet
from serving.worker.settings import Settings, Translation, read_settings
from serving.worker.steering import Steering
from serving.worker.translation import (
    Layout,
    Row,
    Translator,
    direction,
    take_apart,
    translate_all,
)
from serving.worker.wire import Refused, Translate, decode, encode, refuse

TRIAL = "The harbour was closed for ten days because of the ice."


def open_engine(
    settings: Settings, model_dir: Path, device: str, *, threads: int, tokenizer: Any
) -> Translator:
    """The translator that the settings name, loaded and ready."""
    said = settings.translation
    assert said is not None  # the handler has looked
    context = longest_context(settings.context, model_dir, tokenizer)
    if settings.engine == "ctranslate2":
        from serving.worker import ct2_translator  # noqa: PLC0415

        kind = choose_compute_type(settings, device)
        trial = tokenizer.convert_ids_to_tokens(tokenizer(TRIAL)["input_ids"])
        engine, lanes = ct2_translator.open_translator(
            model_dir, device, kind, threads, trial=None if settings.threads else trial
        )
        return ct2_translator.Ct2Translator(
            engine,
            to_tokens=tokenizer.convert_ids_to_tokens,
            to_ids=tokenizer.convert_tokens_to_ids,
            ends=tokenizer.convert_ids_to_tokens(end_tokens(tokenizer, model_dir)),
            context=context,
            beams=said.beams or _makers_beams(model_dir),
            lanes=lanes,
        )
    import torch  # noqa: PLC0415

    from serving.worker import torch_encoder, torch_translator  # noqa: PLC0415

    torch.set_num_threads(threads)
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    dtype = choose_dtype(settings, device, bf16)
    if _read(model_dir, "config.json").get("model_type") == "nn.Transformer":
        from serving.worker import nn_transformer  # noqa: PLC0415

        return nn_transformer.open_translator(model_dir, settings, dtype, device)
    model = torch_encoder.load("AutoModelForSeq2SeqLM", model_dir, settings, dtype)
    return torch_translator.TorchTranslator(
        torch_encoder.prepare(model, settings, device),
        context=context, device=device, pad_id=tokenizer.pad_token_id or 0, beams=said.beams,
    )  # fmt: skip


def _makers_beams(model_dir: Path) -> int:
    """How wide the model's makers search; older folders say so in `config.json`."""
    for name in ("generation_config.json", "config.json"):
        beams = _read(model_dir, name).get("num_beams")
        if beams:
            return int(beams)
    return 1


def _read(model_dir: Path, name: str) -> dict[str, Any]:
    file = model_dir / name
    return dict(msgspec.json.decode(file.read_bytes())) if file.exists() else {}


class TranslationHandler:
    """Keeps the translator; TorchServe calls `initialize` once and `handle` for each batch."""

    def initialize(self, context: Any) -> None:
        """Load tokenizer and engine.

        Raises: ValueError or RuntimeError for settings that this machine or model cannot serve.
        """
        import torch  # noqa: PLC0415

        config = context.model_yaml_config or {}
        self.settings = read_settings(config, context.model_name)
        if self.settings.translation is None:
            message = "model-config.yaml, handler: translation is missing (sources, targets)"
            raise ValueError(message)
        self.languages: Translation = self.settings.translation
        properties = context.system_properties
        model_dir = Path(properties["model_dir"]) / "model"
        wish = os.environ.get("ISOCOST_DEVICE", "auto")
        device = choose_device(self.settings, properties.get("gpu_id"), torch, wish)
        self.domain = read_domain(model_dir)
        self.tokenizer = load_tokenizer(model_dir)
        self.steering = Steering(self.tokenizer, self.languages)
        threads = choose_threads(self.settings, config)
        self.engine = open_engine(
            self.settings, model_dir, device, threads=threads, tokenizer=self.tokenizer
        )
        quiet()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """The answers of one batch; a bad item is refused alone."""
        answers = [""] * len(data)
        asked: list[tuple[int, Translate, list[Layout], int]] = []
        rows: list[Row] = []
        for index, item in enumerate(data):
            context.set_response_content_type(index, "application/json")
            try:
                request, layouts, own = self._read(item)
            except Refused as refused:
                answers[index] = refuse(context, index, refused)
                continue
            asked.append((index, request, layouts, len(rows)))
            rows += own
        found = translate_all(self.engine, rows, self.settings.max_batch, self.languages.growth)
        for index, request, layouts, start in asked:
            try:
                answers[index] = self._answer(request, layouts, found[start:])
            except Refused as refused:
                answers[index] = refuse(context, index, refused)
        return answers

    def _read(self, item: dict[str, Any]) -> tuple[Translate, list[Layout], list[Row]]:
        request = decode(item, self.settings.task)
        if not isinstance(request, Translate):
            raise Refused("unsupported", "This model translates only.")
        if request.formality != "default":
            raise Refused("unsupported", "This model knows no formality: leave it at `default`.")
        origin, goal = direction(self.languages, request.source, request.target)
        layouts = [take_apart(text) for text in request.texts]
        lines = [line for layout in layouts for line in layout.lines]
        if self.domain is not None:
            lines = [self.domain.admit(line) for line in lines]
        rows = self.steering.rows(lines, origin, goal)
        for line, row in zip(lines, rows, strict=True):
            if len(row.source) > self.engine.context:
                message = (
                    f"The line that begins with {line[:40]!r} has {len(row.source)} tokens; the "
                    f"model holds {self.engine.context}. Put line breaks between its sentences."
                )
                raise Refused("context_length_exceeded", message)
        return request, layouts, rows

    def _answer(
        self, request: Translate, layouts: list[Layout], found: list[list[int] | None]
    ) -> str:
        at = 0
        texts: list[str] = []
        for layout in layouts:
            lines = [self._decode(ids) for ids in found[at : at + len(layout.lines)]]
            at += len(lines)
            texts.append(layout.join(lines))
        # Nothing was detected: a model with one source language reads every text as that one.
        detected = next(iter(self.languages.sources)) if request.source is None else None
        body = {
            "translations": [{"text": text, "detected_source": detected} for text in texts],
            "usage": {"characters": sum(map(len, request.texts))},
            "model": self.settings.name,
        }
        return encode(body)

    def _decode(self, ids: list[int] | None) -> str:
        if ids is None:
            message = "A translation did not come to an end: split the text, or shorten it."
            raise Refused("context_length_exceeded", message)
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()
