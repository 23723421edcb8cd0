"""TorchServe handler for transcribe; its archive needs `continuousBatching: true`.

Recordings take turns, half a minute each and several together, so that a long one does not keep a
short one waiting.
"""

import os
from pathlib import Path
from typing import Any

from serving.worker.device import (
    choose_compute_type,
    choose_device,
    choose_dtype,
    choose_threads,
)
from serving.worker.engine import Watch
from serving.worker.generation import Desk
from serving.worker.quiet import quiet
from serving.worker.rounds import Job, Rounds
from serving.worker.settings import Settings, read_settings
from serving.worker.transcribe_answer import Transcript
from serving.worker.transcribe_audio import decode_audio
from serving.worker.transcribe_windows import Recording, Transcriber
from serving.worker.whisper import Vocabulary, Whisper
from serving.worker.wire import Refused, Transcribe, decode, refuse


class TranscribeHandler:
    """Keeps the model and the desk; TorchServe calls `initialize` once and `handle` for ever."""

    def initialize(self, context: Any) -> None:
        """Load the model.

        Raises: ValueError or RuntimeError for settings that this machine or model cannot serve.
        """
        import torch  # noqa: PLC0415

        config = context.model_yaml_config or {}
        properties = context.system_properties
        settings = read_settings(config, context.model_name)
        wish = os.environ.get("ISOCOST_DEVICE", "auto")
        device = choose_device(settings, properties.get("gpu_id"), torch, wish)
        folder = Path(properties["model_dir"]) / "model"
        whisper = open_whisper(settings, folder, device, choose_threads(settings, config))
        self.open(settings, whisper, Vocabulary(folder / "tokenizer.json"))
        quiet()

    def open(self, settings: Settings, whisper: Whisper, vocabulary: Vocabulary) -> None:
        """Begin to serve."""
        self.settings, self._whisper, self._vocabulary = settings, whisper, vocabulary
        self.watch = Watch()
        self.rounds = Rounds(Transcriber(whisper, vocabulary).step, settings.max_batch)
        self.desk = Desk(self.rounds, self.watch, settings.piece_seconds)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """One look at all live requests; each gets its body when it is ready."""
        keys = [context.get_request_id(index) for index in range(len(data))]
        parts = self.desk.serve(keys, lambda index: self._open(data[index], context, index))
        # TorchServe asks, for each item, whether the part it was given is the last one.
        context.stopping_criteria = [(lambda _, last=last: last) for _, last in parts]
        return [text for text, _ in parts]

    def _open(self, item: dict[str, Any], context: Any, index: int) -> Transcript | str:
        try:
            request = decode(item, self.settings.task)
            if not isinstance(request, Transcribe):
                raise Refused("unsupported", "This model transcribes only.")  # noqa: TRY301
            recording = self._read(request)
        except Refused as refused:
            return refuse(context, index, refused)
        context.set_response_content_type(index, "application/json")
        return Transcript(Job(recording, self.watch), request, self.settings.name)

    def _read(self, request: Transcribe) -> Recording:
        many = self._whisper.multilingual
        language = request.language and self._vocabulary.language(
            request.language, multilingual=many
        )
        sound = decode_audio(request, self.settings.max_seconds)
        known = not many or request.language is not None
        return Recording(sound, language or None, known, request.timestamps)


def open_whisper(settings: Settings, folder: Path, device: str, threads: int) -> Whisper:
    """The model that the settings name, loaded and ready."""
    if settings.engine == "ctranslate2":
        from serving.worker import whisper_ct2  # noqa: PLC0415

        kind = choose_compute_type(settings, device)
        fixed = settings.threads > 0
        return whisper_ct2.open_whisper(folder, device, kind, threads, fixed=fixed)
    import torch  # noqa: PLC0415

    from serving.worker import whisper_torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return whisper_torch.open_whisper(folder, device, choose_dtype(settings, device, bf16))
