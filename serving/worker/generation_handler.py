"""TorchServe handler for chat and complete; its archive needs `continuousBatching: true`."""

import os
from pathlib import Path
from typing import Any

from serving.worker.device import (
    choose_compute_type,
    choose_device,
    choose_dtype,
    choose_threads,
)
from serving.worker.engine import Generator, Run, Sampling, Watch
from serving.worker.generation import Answer, Desk
from serving.worker.prompts import (
    end_tokens,
    fit,
    has_encoder,
    load_tokenizer,
    longest_context,
    prompt_ids,
)
from serving.worker.quiet import quiet
from serving.worker.settings import Settings, read_settings
from serving.worker.wire import Chat, Complete, Refused, decode, refuse


def _trial(tokenizer: Any) -> list[str]:
    """A prompt of a usual length."""
    ids = tokenizer("The harbour was closed for ten days. " * 6)["input_ids"]
    return list(tokenizer.convert_ids_to_tokens(ids))


def open_engine(
    settings: Settings, model_dir: Path, device: str, *, threads: int, tokenizer: Any, most: int
) -> Generator:
    """The generator that the settings name, loaded and ready."""
    ends = end_tokens(tokenizer, model_dir)
    context = longest_context(settings.context, model_dir, tokenizer)
    if settings.engine == "ctranslate2":
        from serving.worker import ct2_generator  # noqa: PLC0415

        kind = choose_compute_type(settings, device)
        waves = max(1, min(settings.waves, most))
        prompt = None if settings.threads else _trial(tokenizer)
        engine, replica = ct2_generator.open_generator(
            model_dir, device, kind, threads, waves, prompt=prompt
        )
        return ct2_generator.Ct2Generator(
            engine,
            replica=replica,
            to_tokens=tokenizer.convert_ids_to_tokens,
            ends=ends,
            context=context,
            waves=waves,
            spread=settings.spread,
            most=most,
        )
    import torch  # noqa: PLC0415

    from serving.worker import torch_encoder, torch_generator  # noqa: PLC0415

    torch.set_num_threads(threads)
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    dtype = choose_dtype(settings, device, bf16)
    if has_encoder(model_dir):
        from serving.worker import torch_seq2seq  # noqa: PLC0415

        model = torch_encoder.load("AutoModelForSeq2SeqLM", model_dir, settings, dtype)
        return torch_seq2seq.TorchSeq2Seq(
            torch_encoder.prepare(model, settings, device),
            ends=ends, context=context, device=device, pad_id=tokenizer.pad_token_id or 0,
            most=most,
        )  # fmt: skip
    model = torch_encoder.load("AutoModelForCausalLM", model_dir, settings, dtype)
    model = torch_encoder.prepare(model, settings, device)
    return torch_generator.TorchGenerator(
        model, ends=ends, context=context, device=device, most=most
    )


class GenerationHandler:
    """Keeps the engine and the desk; TorchServe calls `initialize` once and `handle` for ever."""

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
        most = min(self.settings.max_batch, int(config.get("batchSize") or 1))
        self.closed = has_encoder(model_dir)
        self.tokenizer = load_tokenizer(model_dir)
        self.engine = open_engine(
            self.settings,
            model_dir,
            device,
            threads=choose_threads(self.settings, config),
            tokenizer=self.tokenizer,
            most=most,
        )
        quiet()
        self.watch = Watch()
        self.desk = Desk(self.engine, self.watch, self.settings.piece_seconds)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """One step for all live requests; each gets the next part of its body."""
        ids = [context.get_request_id(index) for index in range(len(data))]
        parts = self.desk.serve(ids, lambda index: self._open(data[index], context, index))
        # TorchServe asks, for each item, whether the part it was given is the last one.
        context.stopping_criteria = [(lambda _, last=last: last) for _, last in parts]
        return [text for text, _ in parts]

    def _open(self, item: dict[str, Any], context: Any, index: int) -> Answer | str:
        try:
            request = self._read(item)
            prompt = prompt_ids(self.tokenizer, request, closed=self.closed)
            sampling = Sampling(
                fit(len(prompt), request.max_tokens, self.engine.context, apart=self.closed),
                self.settings.temperature if request.temperature is None else request.temperature,
                request.top_p or self.settings.top_p,
                request.seed,
            )
        except Refused as refused:
            return refuse(context, index, refused)
        kind = "application/x-ndjson" if request.stream else "application/json"
        context.set_response_content_type(index, kind)
        return Answer(Run(prompt, sampling, self.watch), request, self._decode, self.settings.name)

    def _read(self, item: dict[str, Any]) -> Chat | Complete:
        request = decode(item, self.settings.task)
        if not isinstance(request, Chat | Complete):
            raise Refused("unsupported", "This model generates text only.")
        return request

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
