"""The models of the local tasks without TorchServe: the same files and model code, called directly.

No server, no queue, no wire, no base64; the batch is known beforehand. Threads are those of a
served worker. One class each; `answers` is what a batch comes to, `made` how much that is in the
task's unit, so that served and bare are counted alike.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.worker.device import usable_cores
from serving.worker.settings import Settings

from .bare_engines import Ct2Embedder

LONGEST_RECORDING = 1800.0
GROWTH = 2.0


class Bare(Protocol):
    """A model, opened."""

    def answers(self, items: Sequence[Any]) -> list[Any]: ...

    def made(self, items: Sequence[Any], answers: Sequence[Any]) -> float: ...


def answers(engine: Bare, items: Sequence[Any]) -> list[Any]:
    """For `Apart.do`."""
    return engine.answers(items)


def speed(engine: Bare, items: Sequence[Any], batch: int) -> float:
    """What it makes of *items* in a second, *batch* of them at a time."""
    made, began = 0.0, time.perf_counter()
    for at in range(0, len(items), batch):
        part = items[at : at + batch]
        made += engine.made(part, engine.answers(part))
    return made / (time.perf_counter() - began)


class Counted:
    """A task whose unit is the item."""

    def made(self, items: Sequence[Any], answers: Sequence[Any]) -> float:
        return len(items)


class Translator(Counted):
    """`nn.Transformer` in torch, float32; texts to texts."""

    def __init__(self, model: Path) -> None:
        import torch

        from serving.worker.nn_transformer import open_translator
        from serving.worker.prompts import load_tokenizer

        torch.set_num_threads(usable_cores())
        self._engine = open_translator(model, Settings(), "float32", "cpu")
        self._tokenizer = load_tokenizer(model)

    def answers(self, items: Sequence[str]) -> list[str]:
        from serving.worker.translation import Row, translate_all

        rows = [Row(ids) for ids in self._tokenizer(list(items))["input_ids"]]
        found = translate_all(self._engine, rows, Settings().max_batch, GROWTH)
        return [self._tokenizer.decode(ids or [], skip_special_tokens=True) for ids in found]


class Classifier(Counted):
    """MiniLM in CTranslate2, int8; the label that is most like the text."""

    def __init__(self, model: Path) -> None:
        self._embedder = Ct2Embedder(model)
        self._known: dict[str, Any] = {}

    def _vector(self, label: str) -> Any:
        if label not in self._known:
            texts = [hypothesis.format(label) for hypothesis in Settings().hypotheses]
            self._known[label] = self._embedder.embed(texts).mean(axis=0)
        vector = self._known[label]
        return vector / np.linalg.norm(vector)

    def answers(self, items: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """An item is a text and its labels; all have the same labels."""
        labels = items[0][1]
        likeness = (
            self._embedder.embed([text for text, _ in items])
            @ np.stack([self._vector(label) for label in labels]).T
        )
        return [labels[at] for at in likeness.argmax(axis=1)]


class Speaker:
    """Piper's net in ONNX Runtime, phonemes by eSpeak NG; texts to WAV files, seconds of sound."""

    def __init__(self, model: Path) -> None:
        from serving.worker.speak_handler import open_voices

        voices = open_voices(Settings(), model, "cpu", usable_cores())
        self._voice, self._espeak = next(iter(voices.values()))

    def answers(self, items: Sequence[str]) -> list[bytes]:
        return [self._spoken(text) for text in items]

    def _spoken(self, text: str) -> bytes:
        from serving.worker.speak_answer import wav
        from serving.worker.speak_phonemes import ids, phonemes
        from serving.worker.speak_sentences import sentences
        from serving.worker.speak_turns import PAUSE

        known = self._voice.about.phoneme_id_map
        found = [phonemes(clauses) for clauses in self._espeak.clauses(sentences(text))]
        parts = [self._voice.speak(ids(sounds, known), 1.0) for sounds in found if sounds]
        return wav(self._voice.silence(PAUSE).join(parts), self._voice.rate)

    def made(self, items: Sequence[str], answers: Sequence[bytes]) -> float:
        head, width = 44, 2
        return sum(len(file) - head for file in answers) / width / self._voice.rate


class Listener:
    """Whisper in CTranslate2, int8; sound files to texts, seconds of sound."""

    def __init__(self, model: Path) -> None:
        from serving.worker.transcribe_windows import Transcriber
        from serving.worker.whisper import Vocabulary
        from serving.worker.whisper_ct2 import open_whisper

        whisper = open_whisper(model, "cpu", "int8", usable_cores(), fixed=False)
        vocabulary = Vocabulary(model / "tokenizer.json")
        self._english = vocabulary.language("en", multilingual=whisper.multilingual)
        self._transcriber = Transcriber(whisper, vocabulary)
        self._seconds = 0.0

    def answers(self, items: Sequence[bytes]) -> list[str]:
        from serving.worker.engine import Watch
        from serving.worker.rounds import Job
        from serving.worker.transcribe_audio import decode_audio
        from serving.worker.transcribe_windows import Recording
        from serving.worker.wire import Transcribe

        sounds = [decode_audio(Transcribe(audio=file), LONGEST_RECORDING) for file in items]
        heard = [Recording(sound, self._english, True, "none") for sound in sounds]
        jobs = [Job(recording, Watch()) for recording in heard]
        while live := [job for job in jobs if not job.over]:
            self._transcriber.step(live)
        self._seconds = sum(recording.seconds for recording in heard)
        return ["".join(recording.texts).strip() for recording in heard]

    def made(self, items: Sequence[bytes], answers: Sequence[str]) -> float:
        return self._seconds


class Viewer(Counted):
    """OCR in ONNX Runtime, labels in torch, faces in OpenCV; images to the texts of findings."""

    def __init__(self, model: Path) -> None:
        import torch

        from serving.worker.annotate_findings import open_finders

        torch.set_num_threads(1)  # as the served one, and for its reason
        self._finders = open_finders(model, "cpu", usable_cores())

    def answers(self, items: Sequence[tuple[bytes, str]]) -> list[list[str]]:
        """An item is an image file and a feature; all have the same feature."""
        from PIL import Image

        pixels = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file, _ in items]
        found = self._finders[items[0][1]](pixels)
        return [[finding["text"] for finding in row] for row in found]
