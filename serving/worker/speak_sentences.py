# ruff: noqa: RUF001 - these marks stand in texts
"""A text cut into sentences, so that the first can be heard while the next is spoken.

Guarantee: the pieces joined by nothing but white space are the text, and none is longer than asked.
"""

import re

LONGEST = 400
"""Characters spoken in one breath of the engine: half a minute of sound."""
ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "gen", "sgt", "capt", "e.g", "i.e")
)
_END = re.compile(r"[.!?…]+[\"'”’)\]»]*\s+|[。！？]+[」』”）]*\s*|\s*\n\s*\n\s*")
_CLAUSE = re.compile(r"[,;:—–][\"'”’)\]]*\s+|[、，；：]\s*")
_SPACE = re.compile(r"\s+")


def sentences(text: str, longest: int = LONGEST) -> list[str]:
    """The sentences of a text; one that is too long is cut at a clause, a space, or anywhere."""
    found, start = [], 0
    for match in _END.finditer(text):
        if _ends(text, start, match):
            found.append(text[start : match.end()])
            start = match.end()
    found.append(text[start:])
    return [part for one in found for part in cut(one.strip(), longest) if part]


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a sentence ends here: not after an abbreviation, nor before a small letter."""
    mark, after = match.group().strip(), text[match.end() : match.end() + 1]
    if not mark.startswith(".") or mark.startswith("..."):
        return mark == "" or not after.islower()
    word = re.split(r"[\s(\"“]", text[start : match.start()])[-1]
    initial = len(word) == 1 and word.isupper() and word != "I"
    return not (after.islower() or initial or word.lower() in ABBREVIATIONS)


def cut(text: str, longest: int) -> list[str]:
    """Parts of at most that length: cut at a clause, else at a space, else anywhere."""
    parts = []
    while len(text) > longest:
        at = _last(_CLAUSE, text, longest) or _last(_SPACE, text, longest) or longest
        parts.append(text[:at].strip())
        text = text[at:].strip()
    return [*parts, text]


def _last(pattern: re.Pattern[str], text: str, longest: int) -> int:
    """Where the last match ends that keeps the part within `longest`; 0 where there is none."""
    return max((m.end() for m in pattern.finditer(text, 0, longest) if m.start() > 0), default=0)
