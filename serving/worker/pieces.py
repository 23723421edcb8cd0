"""Tokens to text, piece by piece: no broken characters, no half of a stop string.

A byte-level token may end inside a character, so text is held back while it ends in U+FFFD. A stop
string may be spread over tokens, so text is held back while its end could be the start of one.
What was handed out is never taken back; all pieces joined are the whole text up to the stop.
"""

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"
LONGEST_CHARACTER = 4  # bytes of UTF-8, so at most as many byte tokens


class Detokenizer:
    """Turns token ids into whole characters.

    Decodes a short window that starts one piece back, because a tokenizer may treat the first token
    of a text differently (a leading space is lost).
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        """`decode` gives the text of token ids, without special tokens."""
        self._decode = decode
        self._ids: list[int] = []
        self._read = 0  # tokens whose text is out

    def push(self, token: int) -> str:
        """The text that this token completes; often empty, never with a broken end."""
        self._ids.append(token)
        text = self._unread()
        waiting = len(self._ids) - self._read
        if text.endswith(BROKEN) and waiting < LONGEST_CHARACTER:
            return ""
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        return text

    def flush(self) -> str:
        """What is still held, less a character that never became whole."""
        return self._unread().rstrip(BROKEN)

    def _unread(self) -> str:
        before = self._decode(self._ids[: self._read]) if self._read else ""
        return self._decode(self._ids)[len(before) :]


class Stops:
    """Holds text back while a stop string may be under way."""

    def __init__(self, stops: Sequence[str]) -> None:
        """No stops: everything passes at once."""
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """Text that is safe to send; sets `hit` when a stop string was found."""
        held = self._held + text
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return held[: min(found)]
        keep = self._overlap(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """The end came first: what was held is text after all."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, text: str) -> int:
        """Length of the longest end of `text` that starts a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            end = text[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return size
        return 0
