"""TorchServe handler for speak; its archive needs `continuousBatching: true`.

Requests take turns, a sentence each, so that a long text does not keep a short one waiting.
"""

import logging
import os
import unicodedata
from pathlib import Path
from typing import Any

from serving.worker.device import choose_device, choose_threads
from serving.worker.engine import Watch
from serving.worker.generation import Desk
from serving.worker.onnx_session import open_session
from serving.worker.quiet import quiet
from serving.worker.rounds import Job, Rounds
from serving.worker.settings import Settings, read_settings
from serving.worker.speak_answer import SpokenAnswer
from serving.worker.speak_phonemes import Clauses, Espeak, ids, phonemes
from serving.worker.speak_sentences import cut, sentences
from serving.worker.speak_turns import Spoken, speak_next
from serving.worker.speak_voice import Voice, read_voice
from serving.worker.wire import Refused, Speak, decode, refuse

logger = logging.getLogger(__name__)
SLOWEST, FASTEST = 0.25, 4.0
CHARACTERS = 4096
PHONEMES = 500
"""Of one pass: digits are spoken longer than they are written, and work grows by the square."""


class SpeakHandler:
    """Keeps the voices and the desk; TorchServe calls `initialize` once and `handle` for ever."""

    def initialize(self, context: Any) -> None:
        """Load the voices and start the programs for their phonemes.

        Raises: ValueError or RuntimeError for what this machine or model cannot serve.
        """
        import torch  # noqa: PLC0415

        config = context.model_yaml_config or {}
        properties = context.system_properties
        settings = read_settings(config, context.model_name)
        wish = os.environ.get("ISOCOST_DEVICE", "auto")
        device = choose_device(settings, properties.get("gpu_id"), torch, wish)
        threads = choose_threads(settings, config)
        folder = Path(properties["model_dir"]) / "model"
        self.open(settings, open_voices(settings, folder, device, threads))
        quiet()

    def open(self, settings: Settings, voices: dict[str, tuple[Voice, Clauses]]) -> None:
        """Begin to serve these voices; the first is the one that speaks when none is named."""
        self.settings, self._voices = settings, voices
        self.watch = Watch()
        self.rounds = Rounds(speak_next, most=1)
        self.desk = Desk(self.rounds, self.watch, settings.piece_seconds)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """One step for all live requests; each gets the next part of its body."""
        keys = [context.get_request_id(index) for index in range(len(data))]
        parts = self.desk.serve(keys, lambda index: self._open(data[index], context, index))
        # TorchServe asks, for each item, whether the part it was given is the last one.
        context.stopping_criteria = [(lambda _, last=last: last) for _, last in parts]
        return [text for text, _ in parts]

    def _open(self, item: dict[str, Any], context: Any, index: int) -> SpokenAnswer | str:
        try:
            request = decode(item, self.settings.task)
            if not isinstance(request, Speak):
                raise Refused("unsupported", "This model speaks only.")  # noqa: TRY301
            job, rate = self._begin(request)
        except Refused as refused:
            return refuse(context, index, refused)
        kind = "application/x-ndjson" if request.stream else "application/json"
        context.set_response_content_type(index, kind)
        return SpokenAnswer(job, request, rate, self.settings.name)

    def _begin(self, request: Speak) -> tuple[Job, int]:
        try:
            spoken = self._read(request)
        except RuntimeError as error:  # the program for phonemes: the neighbours go on
            logger.exception("no phonemes")
            failed = Job(None, self.watch)
            failed.end(str(error))
            return failed, 1
        return Job(spoken, self.watch), spoken.voice.rate

    def _read(self, request: Speak) -> Spoken:
        name = request.voice or next(iter(self._voices))
        if name not in self._voices:
            known = ", ".join(self._voices)
            raise Refused("unsupported", f"There is no voice {name!r}; the voices are {known}.")
        if not SLOWEST <= request.speed <= FASTEST:
            raise Refused("unsupported", f"speed must be between {SLOWEST} and {FASTEST}.")
        most = self.settings.context or CHARACTERS
        if len(request.text) > most:
            message = (
                f"The text has {len(request.text)} characters; the model takes {most}. Split it."
            )
            raise Refused("context_length_exceeded", message)
        voice, espeak = self._voices[name]
        if mostly_foreign(request.text):
            message = f"The voice {name!r} reads Latin letters; this text is in another script."
            raise Refused("unsupported", message)
        found = [phonemes(clauses) for clauses in espeak.clauses(sentences(request.text))]
        breaths = [part for sounds in found if sounds for part in cut(sounds, PHONEMES)]
        parts = [ids(sounds, voice.about.phoneme_id_map) for sounds in breaths]
        if not parts:
            raise Refused("invalid_request", "The text holds nothing that can be spoken.")
        return Spoken(voice, parts, request.speed)


def mostly_foreign(text: str) -> bool:
    """Whether most letters are not Latin: eSpeak would name each instead of reading it."""
    letters = [char for char in text if char.isalpha()]
    latin = sum(unicodedata.name(char, "").startswith("LATIN") for char in letters)
    return 2 * latin < len(letters)


def open_voices(
    settings: Settings, folder: Path, device: str, threads: int
) -> dict[str, tuple[Voice, Clauses]]:
    """The voices of the settings, else all of the folder, each with its program for phonemes.

    Raises: ValueError or RuntimeError.
    """
    there = sorted(file.name.removesuffix(".onnx.json") for file in folder.glob("*.onnx.json"))
    names = settings.voices or tuple(there)
    if not names or not set(names) <= set(there):
        message = f"the voices {', '.join(names) or '(none)'} are not all in the archive: {there}"
        raise ValueError(message)
    espeaks: dict[str, Espeak] = {}
    voices: dict[str, tuple[Voice, Clauses]] = {}
    for name in names:
        about = read_voice(folder / f"{name}.onnx.json")
        speech = about.espeak.voice
        if speech not in espeaks:
            espeaks[speech] = Espeak(speech)
        session = open_session(folder / f"{name}.onnx", device, threads, "voice")
        voices[name] = (Voice(session, about), espeaks[speech])
    return voices
