"""What a recording says: as a test said, else the sandbox's own voice, else a fixed sentence.

Silence says nothing. Words share the recording's time by their length; a sentence is a segment.
"""

import re

from msgspec import Struct

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.media import Sound, hear
from load_tests.sandbox.tones import listen, silent

UNTOLD = "Nobody has told the sandbox what this recording says."
BETWEEN = re.compile(r"(?<=[.!?])\s+")  # two sentences
LANGUAGES = {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fr": "french",
    "it": "italian", "ja": "japanese", "ko": "korean", "nl": "dutch", "pl": "polish",
    "pt": "portuguese", "ru": "russian", "sv": "swedish", "tr": "turkish", "uk": "ukrainian",
    "zh": "chinese",
}  # fmt: skip


class Span(Struct, frozen=True):
    """A piece of the text with its seconds."""

    text: str
    start: float
    end: float


class Heard(Struct, frozen=True):
    """A recording and its text; `language` is an ISO 639-1 code."""

    text: str
    language: str
    sound: Sound

    def words(self) -> list[Span]:
        """Every word with its time."""
        return _spread(self.text.split(), self.sound.seconds)

    def segments(self) -> list[Span]:
        """Every sentence with its time."""
        return _spread(BETWEEN.split(self.text.strip()), self.sound.seconds)


def transcribe(
    data: bytes, answers: Answers, *, bare: str = "", rate: int = 0, channels: int = 1
) -> Heard:
    """Decode and hear. Raises Unreadable."""
    sound = hear(data, bare, rate, channels)
    told = answers.heard(data)
    if told is not None:
        return Heard(told.text, told.language, sound)
    if silent(sound.samples):
        return Heard("", "en", sound)
    said = listen(sound.samples)
    return Heard(UNTOLD if said is None else said, "en", sound)


def _spread(texts: list[str], seconds: float) -> list[Span]:
    texts = [text for text in texts if text]
    whole = sum(map(len, texts)) or 1
    spans: list[Span] = []
    before = 0
    for text in texts:
        start, before = before, before + len(text)
        span = Span(text, round(seconds * start / whole, 2), round(seconds * before / whole, 2))
        spans.append(span)
    return spans
