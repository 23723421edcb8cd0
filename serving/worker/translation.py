"""The seam between the translation handler and its engines, and what stands around both.

A text is translated line by line: tokenizers of translation models drop line breaks, and the models
learned from single sentences. Blank lines, and blanks around a line, come back as they were. All
lines of all requests of a batch become one list, sorted by length, so that requests share passes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.worker.encoding import batches
from serving.worker.settings import Translation
from serving.worker.wire import Refused

EDGES = re.compile(r"^(\s*)(.*?)(\s*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One line for the engine: its ids, and the ids that its translation must start with."""

    source: list[int]
    start: tuple[int, ...] = ()


class Translator(Protocol):
    """Turns rows into ids of their translations; rows of one call have similar lengths."""

    @property
    def context(self) -> int:
        """Most tokens of one line, and of its translation."""

    def translate(self, rows: Sequence[Row], longest: int) -> list[list[int] | None]:
        """Ids per row, without those of the start and the end.

        None where the translation had not ended after `longest` tokens: half of one is worse than
        none, because nobody sees that the rest is missing.
        """


def translate_all(
    engine: Translator, rows: Sequence[Row], most: int, growth: float
) -> list[list[int] | None]:
    """The translation of each row, in their order; `most` rows are one pass of the engine.

    A translation may be `growth` times as long as its source, and 16 tokens more.
    """
    found: list[list[int] | None] = [None] * len(rows)
    for batch in batches([row.source for row in rows], most):
        widest = max(len(rows[index].source) for index in batch)
        longest = min(engine.context, int(widest * growth) + 16)
        made = engine.translate([rows[index] for index in batch], longest)
        for index, ids in zip(batch, made, strict=True):
            found[index] = ids
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """A text taken apart: what is translated, and the blanks between."""

    lines: tuple[str, ...]
    between: tuple[str, ...]  # one more than lines

    def join(self, lines: Sequence[str]) -> str:
        """The text with these lines in place of its own."""
        pairs = zip(lines, self.between[1:], strict=True)
        return self.between[0] + "".join(line + blank for line, blank in pairs)


def take_apart(text: str) -> Layout:
    """The lines of a text that hold anything but blanks; joined again they are the text."""
    lines: list[str] = []
    between = [""]
    for piece in text.splitlines(keepends=True):
        match = EDGES.match(piece)
        assert match is not None  # every string has edges
        before, line, after = match.groups()
        between[-1] += before
        if line:
            lines.append(line)
            between.append(after)
        else:
            between[-1] += after
    return Layout(tuple(lines), tuple(between))


def direction(settings: Translation, source: str | None, target: str) -> tuple[str, str]:
    """The tags of the settings that stand for the languages asked for.

    A tag without a region stands for all of its regions, so `en` serves `en-US`.
    Raises: Refused with `unsupported`.
    """
    if source is None and len(settings.sources) > 1:
        raise Refused(
            "unsupported", "This model reads several languages and detects none: name the source."
        )
    origin = next(iter(settings.sources)) if source is None else _known(settings.sources, source)
    goal = _known(settings.targets, target)
    if origin is None:
        raise Refused("unsupported", _beyond("reads", settings.sources, source or ""))
    if goal is None:
        raise Refused("unsupported", _beyond("writes", settings.targets, target))
    if origin == goal:
        raise Refused("unsupported", f"The text is to become what it is: {source} to {target}.")
    return origin, goal


def _known(tags: dict[str, str], asked: str) -> str | None:
    exact = {tag.lower(): tag for tag in tags}
    return exact.get(asked.lower()) or exact.get(asked.lower().partition("-")[0])


def _beyond(does: str, tags: dict[str, str], asked: str) -> str:
    return f"This model {does} {', '.join(tags)}; it does not know the language {asked!r}."
