"""When each word is said, from the frames that its tokens were aligned with.

Source: timing.py of openai/whisper (MIT), read 2026-11-23.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.worker.whisper import FRAME_SECONDS

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
LEADING = "\"'“¿([{-「『（《"  # noqa: RUF001 - marks of other scripts
BROKEN = "�"


@dataclass(frozen=True, slots=True)
class Span:
    """Words and when they are said, in seconds."""

    start: float
    end: float
    text: str


def words_of(
    tokens: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    text: Callable[[Sequence[int]], str],
    language: str | None,
) -> list[Span]:
    """The words of some tokens; `pairs` are (index of token, frame), rising."""
    first: dict[int, int] = {}
    for token, frame in pairs:
        first.setdefault(token, frame)
    last = pairs[-1][1] if pairs else 0
    found, at = [], 0
    for group in group_tokens(tokens, text, spaced=language not in UNSPACED):
        start = first.get(at, last)
        at += len(group)
        end = first.get(at, last)
        word = text(group).strip()
        if word:
            found.append(Span(start * FRAME_SECONDS, max(start, end) * FRAME_SECONDS, word))
    return found


def group_tokens(
    tokens: Sequence[int], text: Callable[[Sequence[int]], str], *, spaced: bool
) -> list[list[int]]:
    """Tokens by words: a word begins with a space, or is a character where a language has none.

    Marks stay with the word before them, opening ones with the word after. Their concatenation is
    `tokens`.
    """
    groups: list[list[int]] = []
    for letters in _characters(tokens, text):
        shown = text(letters)
        before = text(groups[-1]) if groups else ""
        closes = _marks(shown) and not _opens(shown)
        starts = not spaced or shown.startswith(" ")
        if groups and (closes or _opens(before) or not starts):
            groups[-1] = groups[-1] + letters
        else:
            groups.append(letters)
    return groups


def _marks(text: str) -> bool:
    """Whether these are marks such as the comma, and nothing else."""
    shown = text.strip()
    return shown != "" and all(unicodedata.category(char)[0] == "P" for char in shown)


def _opens(text: str) -> bool:
    """Whether these are marks that belong to what follows."""
    return _marks(text) and all(char in LEADING for char in text.strip())


def _characters(tokens: Sequence[int], text: Callable[[Sequence[int]], str]) -> list[list[int]]:
    """The fewest tokens that make whole characters each."""
    found: list[list[int]] = []
    held: list[int] = []
    for token in tokens:
        held.append(token)
        if not text(held).endswith(BROKEN):
            found.append(held)
            held = []
    return [*found, held] if held else found
