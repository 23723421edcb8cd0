"""The sandbox's token rule, used for usage, limits and the bill alike.

A token is a run of at most eight word characters, or one sign that is neither word nor space;
space before it belongs to it. A chat message costs 3 tokens around its text and the whole prompt 3
more; an image or audio part costs 85. That is no vendor's tokenizer, but it is near enough for
English, the same everywhere, and cheap. The prefix cache follows OpenAI's documented shape: prompts
from 1024 tokens on, matched by their beginning in steps of 128 tokens.
"""

import re
from collections import OrderedDict
from functools import lru_cache
from zlib import crc32

PIECE = re.compile(r"\s*(?:\w{1,8}|[^\w\s])")
PER_MESSAGE = 3
PER_PROMPT = 3
PER_MEDIA_PART = 85
CACHE_FROM, CACHE_STEP = 1024, 128
SHORT = 2000  # characters of a text whose count is remembered; load tests repeat their texts


def count(text: str) -> int:
    """How many tokens a text has."""
    return _short(text) if len(text) <= SHORT else len(PIECE.findall(text))


@lru_cache(maxsize=1024)
def _short(text: str) -> int:
    return len(PIECE.findall(text))


def pieces(text: str) -> list[str]:
    """The text as tokens; joined they are the text without the space at its end."""
    found: list[str] = PIECE.findall(text)
    return found


class PrefixCache:
    """Beginnings of long prompts that were seen before, per key and model, newest 4096."""

    def __init__(self, keep: int = 4096) -> None:
        self._seen: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        self._keep = keep

    def cached(self, scope: str, text: str, tokens: int) -> int:
        """Tokens of this prompt that a former prompt of the same scope began with."""
        if tokens < CACHE_FROM:
            return 0
        parts = pieces(text)
        marks: list[tuple[str, int, int]] = []
        digest, start = 0, 0
        for end in range(CACHE_FROM, len(parts) + 1, CACHE_STEP):
            digest = crc32("".join(parts[start:end]).encode(), digest)
            marks.append((scope, end, digest))
            start = end
        hit = max((mark[1] for mark in marks if mark in self._seen), default=0)
        for mark in marks:
            self._seen[mark] = None
            self._seen.move_to_end(mark)
        while len(self._seen) > self._keep:
            self._seen.popitem(last=False)
        return hit
