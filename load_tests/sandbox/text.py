"""Plausible text without a model: sentences about the words of the question.

The same question gets the same answer. An answer is built of tokens (`tokens.PIECE`), so that its
length, its price and where a limit cuts it agree without counting again.
"""

import re
from zlib import crc32

from load_tests.sandbox.tokens import pieces

WORD = re.compile(r"[^\W\d_]{4,}")
OPENINGS = (
    "Here is what matters about {}.",
    "In short, {} comes down to three points.",
    "A good way to think of {} is to begin with what it is for.",
    "The question of {} has a plain answer.",
)
SENTENCES = (
    " First, look at what it costs and who depends on it.",
    " Most people start small, measure, and only then add more.",
    " It helps to write the goal down before choosing how to reach it.",
    " The common mistake is to change many things at once.",
    " With {} in mind, the next step is usually clear.",
    " If one part fails, the rest should keep working.",
    " A simple table of options and their limits is often enough.",
    " When in doubt, prefer the choice that is easy to undo.",
    " Over time the small differences in {} add up.",
    " Ask again with more detail and the answer can be narrower.",
)
LOOK_BACK = 120  # characters at the end of a prompt that the topic is taken from
SHORTEST, LONGEST = 24, 88  # tokens of an answer that nothing else limits


def topic(prompt: str) -> str:
    """Up to three long words of the prompt, in their order."""
    words = list(dict.fromkeys(WORD.findall(prompt[-LOOK_BACK:])))
    if len(words) > 3:
        longest = sorted(words, key=len, reverse=True)[:3]
        words = [word for word in words if word in longest]
    return " ".join(words) or "this"


class Writer:
    """Writes answers; the sentences are cut into tokens once."""

    def __init__(self) -> None:
        self._openings = [_around(sentence) for sentence in OPENINGS]
        self._sentences = [_around(sentence) for sentence in SENTENCES]

    def write(self, prompt: str, salt: int = 0) -> list[str]:
        """The tokens of an answer to this prompt; `salt` tells several choices apart."""
        seed = crc32(prompt.encode("utf-8", "replace"), salt)
        about = pieces(" " + topic(prompt))
        before, after, _ = self._openings[seed % len(self._openings)]
        out = [*before, *about, *after]
        wanted = SHORTEST + (seed >> 8) % (LONGEST - SHORTEST)
        step = seed >> 16
        while len(out) < wanted:
            before, after, named = self._sentences[step % len(self._sentences)]
            out += [*before, *about, *after] if named else before
            step += 1
        return out


def _around(sentence: str) -> tuple[list[str], list[str], bool]:
    before, named, after = sentence.partition(" {}")
    return pieces(before), pieces(after), bool(named)
