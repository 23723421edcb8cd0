"""Whisper in CTranslate2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from serving.worker.tune import choose_intra
from serving.worker.whisper import Guess
from serving.worker.whisper_mel import FRAMES

LONGEST = 448
BEAMS = 5
"""As in the paper's own transcriptions."""
LATEST_START = 50  # the first time token is within one second of the window's start


def open_whisper(
    folder: Path, device: str, kind: str, threads: int, *, fixed: bool
) -> "Ct2Whisper":
    """The model of `folder/ct2`, with as many threads for an operation as run it quickest."""
    name, _, index = device.partition(":")

    def load(intra: int) -> Any:
        return ctranslate2.models.Whisper(
            str(folder / "ct2"),
            device=name,
            device_index=int(index or 0),
            compute_type=kind,
            intra_threads=intra,
            inter_threads=1,
        )

    def trial(model: Any) -> None:
        model.encode(_view(np.zeros((1, model.n_mels, FRAMES // 4), np.float32)))

    model, _ = choose_intra(load, trial, threads, fixed=fixed or name != "cpu")
    return Ct2Whisper(model)


def _view(array: Any) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


class Ct2Whisper:
    """A loaded model; states are arrays of this machine's memory."""

    def __init__(self, model: Any) -> None:
        """`model` is ctranslate2.models.Whisper."""
        self._model = model
        self.bands = int(model.n_mels)
        self.multilingual = bool(model.is_multilingual)

    def encode(self, mels: Any) -> Any:
        """States [windows, 1500, width]."""
        states = self._model.encode(_view(mels), to_cpu=True)
        if states.dtype != ctranslate2.DataType.float32:
            states = states.to(ctranslate2.DataType.float32)
        return np.array(states)

    def pick(self, states: Any, rows: Sequence[int]) -> Any:
        """Some rows."""
        return states if len(rows) == len(states) else states[list(rows)]

    def languages(self, states: Any) -> list[str]:
        """Whisper's names."""
        found = self._model.detect_language(_view(states))
        return [best[0][0].strip("<|>") for best in found]

    def generate(
        self, states: Any, prompts: Sequence[list[int]], temperature: float
    ) -> list[Guess]:
        """Beam search where the temperature is 0, else a draw."""
        drawn = temperature > 0
        results = self._model.generate(
            _view(states),
            list(prompts),
            beam_size=1 if drawn else BEAMS,
            sampling_temperature=temperature if drawn else 1.0,
            sampling_topk=0 if drawn else 1,
            max_length=LONGEST,
            max_initial_timestamp_index=LATEST_START,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            Guess(list(r.sequences_ids[0]), float(r.scores[0]), float(r.no_speech_prob))
            for r in results
        ]

    def align(
        self, states: Any, prompt: list[int], tokens: list[int], frames: int
    ) -> list[tuple[int, int]]:
        """By the attention of the heads that the model's makers chose."""
        (found,) = self._model.align(_view(states), prompt, [tokens], [frames])
        return [(int(token), int(frame)) for token, frame in found.alignments]
