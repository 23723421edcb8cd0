"""The seam between the transcribing handler and its engines, and Whisper's own tokens.

Source: https://arxiv.org/abs/2212.04356 and openai/whisper's tokenizer.py and decoding.py (MIT).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.worker.wire import Refused

FRAME_SECONDS = 0.02
"""What one timestamp token counts."""
ALIASES = {"nb": "no", "fil": "tl", "iw": "he", "cmn": "zh", "in": "id", "jv": "jw", "ji": "yi"}
TAGS = {"jw": "jv"}
"""Whisper's name -> BCP 47, where they differ."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What an engine heard in one window.

    Tokens without the end token, their mean log probability, and the probability of no speech.
    """

    tokens: list[int]
    logprob: float
    silence: float


class Whisper(Protocol):
    """A Whisper model; `states` is what `encode` gave, one row for each window."""

    @property
    def bands(self) -> int:
        """Bands of its spectrogram."""

    @property
    def multilingual(self) -> bool:
        """Whether it knows more than English."""

    def encode(self, mels: Any) -> Any:
        """States of spectrograms [windows, bands, 3000]."""

    def pick(self, states: Any, rows: Sequence[int]) -> Any:
        """Some rows of states."""

    def languages(self, states: Any) -> list[str]:
        """The likeliest language of each row, as Whisper names it."""

    def generate(
        self, states: Any, prompts: Sequence[list[int]], temperature: float
    ) -> list[Guess]:
        """What is said in each row; prompts are equally long."""

    def align(
        self, states: Any, prompt: list[int], tokens: list[int], frames: int
    ) -> list[tuple[int, int]]:
        """Pairs of the index of a token and a moment in steps of 20 ms when it is said, rising.

        `states` has one row, made of `frames` (of 10 ms) with sound. One index more than there are
        tokens stands for the end.
        """


class Vocabulary:
    """The special tokens of one model's tokenizer, and its texts."""

    def __init__(self, file: Path) -> None:
        """Raises: ValueError for a tokenizer that is not Whisper's."""
        from tokenizers import Tokenizer  # noqa: PLC0415 - only workers have it

        self._tokenizer: Any = Tokenizer.from_file(str(file))
        self.end = self._id("<|endoftext|>")
        self.start = self._id("<|startoftranscript|>")
        self.transcribe = self._id("<|transcribe|>")
        self.no_times = self._id("<|notimestamps|>")
        self.first_time = self.no_times + 1
        marks = range(self.start + 1, self.transcribe)
        names = {mark: self._tokenizer.id_to_token(mark) or "" for mark in marks}
        found = {mark: re.fullmatch(r"<\|([a-z]{2,3})\|>", name) for mark, name in names.items()}
        self.languages = {match[1]: mark for mark, match in found.items() if match}

    def _id(self, token: str) -> int:
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            message = f"tokenizer.json has no {token}: it is not the tokenizer of a Whisper model"
            raise ValueError(message)
        return found

    def prompt(self, language: str | None, *, times: bool) -> list[int]:
        """What an answer begins with; `language` None is a model of English only."""
        spoken = [] if language is None else [self.languages[language], self.transcribe]
        return [self.start, *spoken, *([] if times else [self.no_times])]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens; special ones are left out."""
        plain = [token for token in tokens if token < self.end]
        found: str = self._tokenizer.decode(plain, skip_special_tokens=False)
        return found

    def seconds(self, token: int) -> float:
        """The moment that a time token names, from the start of its window."""
        return (token - self.first_time) * FRAME_SECONDS

    def language(self, tag: str, *, multilingual: bool) -> str | None:
        """Whisper's name of a BCP 47 language. Raises: Refused for one that it does not know."""
        base = tag.split("-", maxsplit=1)[0].lower()
        name = ALIASES.get(base, base)
        if not multilingual:
            if name != "en":
                raise Refused("unsupported", f"This model knows English only, not {tag!r}.")
            return None
        if name not in self.languages:
            known = ", ".join(sorted(self.languages))
            raise Refused("unsupported", f"The model does not know the language {tag!r}: {known}.")
        return name
