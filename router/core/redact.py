"""What others say, without what must not be repeated: our key, and what the client asked.

A vendor's error may quote the key that it refuses or the text that it could not read. The key is
taken out of everything; a run of RUN or more characters that the client sent is taken out of what
is kept (journal, decisions, attempts), not out of what that client is answered.
"""

from __future__ import annotations

from collections.abc import Iterable

KEY, CUT = "[key]", "[...]"
RUN = 20
"""Characters in a row that are a quotation; shorter ones are names of fields and models."""
LEAST = 8
"""A shorter key than this is a placeholder, and part of ordinary words."""
MOST = 256 * 1024
"""Bytes of what was asked that are searched."""


def without_key(text: str, secret: str) -> str:
    """*text* without *secret*, with or without the word that says what kind it is."""
    for form in (secret, secret.rpartition(" ")[2]):
        if len(form) >= LEAST:
            text = text.replace(form, KEY)
    return text


def without_key_bytes(raw: bytes, secret: str) -> bytes:
    """The same for a body as it came."""
    bare = secret.rpartition(" ")[2].encode()
    return raw.replace(bare, KEY.encode()) if len(bare) >= LEAST else raw


def without_asked(text: str, asked: Iterable[bytes]) -> str:
    """*text* without quotations of *asked*, which are pieces of JSON as they were sent."""
    pieces = [piece[:MOST].decode(errors="replace") for piece in asked]
    if len(text) < RUN or not pieces:
        return text
    kept, at = [], 0
    while at < len(text):
        end = at
        while end + RUN <= len(text) and any(text[end : end + RUN] in p for p in pieces):
            end += 1
        if end > at:
            kept.append(CUT)
            at = end + RUN - 1
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)
