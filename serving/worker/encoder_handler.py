"""TorchServe handler for embed and classify, with dynamic batching.

The texts of all requests of a batch become one list, so that requests share passes of the engine.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from serving.worker.device import (
    choose_compute_type,
    choose_device,
    choose_dtype,
    choose_threads,
)
from serving.worker.encoding import encode_all, head_scores, normalise, rank, zero_shot
from serving.worker.engine import Encoder
from serving.worker.head import with_head
from serving.worker.prompts import load_tokenizer, longest_context, token_rows
from serving.worker.quiet import quiet
from serving.worker.settings import Settings, read_pooling, read_settings
from serving.worker.wire import Classify, Embed, Refused, decode, encode, encode_vector, refuse

KNOWN_LABELS = 4096


def open_encoder(
    settings: Settings, model_dir: Path, device: str, threads: int, tokenizer: Any
) -> Encoder:
    """The encoder that the settings name, loaded and ready."""
    pooling = read_pooling(settings, model_dir)
    context = longest_context(settings.context, model_dir, tokenizer)
    if settings.engine == "ctranslate2":
        from serving.worker import ct2_encoder  # noqa: PLC0415

        kind = choose_compute_type(settings, device)
        engine, lanes = ct2_encoder.open_encoder(
            model_dir, device, kind, threads, fixed=settings.threads > 0
        )
        bare = ct2_encoder.Ct2Encoder(engine, pooling=pooling, context=context, lanes=lanes)
        return with_head(bare, model_dir)
    import torch  # noqa: PLC0415

    from serving.worker import torch_encoder  # noqa: PLC0415

    torch.set_num_threads(threads)
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    dtype = choose_dtype(settings, device, bf16)
    config = msgspec.json.decode((model_dir / "config.json").read_bytes())
    heads = [str(name) for name in config.get("architectures") or []]
    trained = any(name.endswith("ForSequenceClassification") for name in heads)
    kind = "AutoModelForSequenceClassification" if trained else "AutoModel"
    model = torch_encoder.load(kind, model_dir, settings, dtype)
    names = model.config.id2label if trained else {}
    labels = [str(names[index]) for index in sorted(names)]
    encoder = torch_encoder.TorchEncoder(
        torch_encoder.prepare(model, settings, device),
        pooling=pooling, context=context, device=device, labels=labels,
        pad_id=tokenizer.pad_token_id or 0,
    )  # fmt: skip
    return encoder if trained else with_head(encoder, model_dir)


class EncoderHandler:
    """Keeps the encoder; TorchServe calls `initialize` once and `handle` for each batch."""

    def initialize(self, context: Any) -> None:
        """Load tokenizer and engine.

        Raises: ValueError or RuntimeError for settings that this machine or model cannot serve.
        """
        import torch  # noqa: PLC0415

        config = context.model_yaml_config or {}
        self.settings = read_settings(config, context.model_name)
        properties = context.system_properties
        model_dir = Path(properties["model_dir"]) / "model"
        wish = os.environ.get("ISOCOST_DEVICE", "auto")
        device = choose_device(self.settings, properties.get("gpu_id"), torch, wish)
        self.tokenizer = load_tokenizer(model_dir)
        threads = choose_threads(self.settings, config)
        self.engine = open_encoder(self.settings, model_dir, device, threads, self.tokenizer)
        if self.engine.labels and "embed" in self.settings.task:
            message = "a sequence classifier gives no embeddings: pack it for the task classify"
            raise ValueError(message)
        quiet()
        self._label_vector = lru_cache(maxsize=KNOWN_LABELS)(self._embed_label)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """The answers of one batch; a bad item is refused alone."""
        answers = [""] * len(data)
        asked: list[tuple[int, Embed | Classify, list[list[int]]]] = []
        for index, item in enumerate(data):
            context.set_response_content_type(index, "application/json")
            try:
                asked.append((index, *self._read(item)))
            except Refused as refused:
                answers[index] = refuse(context, index, refused)
        rows = [row for _, _, texts in asked for row in texts]
        found = encode_all(self.engine, rows, self.settings.max_batch) if rows else None
        start = 0
        for index, request, texts in asked:
            own = found[start : start + len(texts)] if found is not None else None
            start += len(texts)
            usage = {"input_tokens": sum(len(row) for row in texts)}
            try:
                body = self._answer(request, own)
                answers[index] = encode({**body, "usage": usage, "model": self.settings.name})
            except Refused as refused:
                answers[index] = refuse(context, index, refused)
        return answers

    def _read(self, item: dict[str, Any]) -> tuple[Embed | Classify, list[list[int]]]:
        request = decode(item, self.settings.task)
        if not isinstance(request, Embed | Classify):
            raise Refused("unsupported", "This model encodes text only.")
        if isinstance(request, Classify) and not self.engine.labels and not request.labels:
            raise Refused("invalid_request", "This model has no labels of its own: send `labels`.")
        return request, self._tokenize(request.texts)

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        rows = token_rows(self.tokenizer, texts)
        for index, row in enumerate(rows):
            if len(row) > self.engine.context:
                message = (
                    f"Text {index} has {len(row)} tokens; the model holds {self.engine.context}. "
                    "Split it or shorten it."
                )
                raise Refused("context_length_exceeded", message)
            if not row:
                raise Refused("invalid_request", f"Text {index} holds no token: send some text.")
        return rows

    def _answer(self, request: Embed | Classify, found: Any) -> dict[str, Any]:
        if isinstance(request, Embed):
            vectors = normalise(found) if self.settings.normalize else found
            texts = [encode_vector(vector) for vector in vectors]
            return {"embeddings": texts, "dimensions": int(vectors.shape[1])}
        if self.engine.labels:
            labels, scores = head_scores(
                found, self.engine.labels, request.labels, multi=request.multi_label
            )
        else:
            labels = list(request.labels or ())
            scores = self._likeness(found, labels, multi=request.multi_label)
        return {"results": [rank(labels, row) for row in scores]}

    def _likeness(self, found: Any, labels: list[str], *, multi: bool) -> Any:
        import numpy as np  # noqa: PLC0415

        known = np.stack([self._label_vector(label) for label in labels])
        return zero_shot(normalise(found), known, sharpness=self.settings.sharpness, multi=multi)

    def _embed_label(self, label: str) -> Any:
        """Labels come again and again, so their vectors are kept."""
        rows = self._tokenize([text.format(label) for text in self.settings.hypotheses])
        found = encode_all(self.engine, rows, self.settings.max_batch)
        return normalise(normalise(found).mean(axis=0))
