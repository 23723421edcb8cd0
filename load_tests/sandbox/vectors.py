"""Embeddings without a model: hashed words and letter triples, as unit vectors.

Feature hashing (Weinberger et al. 2009): every word and every three letters in a row add their
weight, with either sign, at positions that follow from their hash. Equal texts give equal vectors,
texts that share words are near.
"""

import math
import struct
from base64 import b64encode
from zlib import crc32

SPREAD = 4  # positions that one feature touches, so that a short text is not all zeros


def embed(text: str, dimensions: int) -> list[float]:
    """The unit vector of a text."""
    vector = [0.0] * dimensions
    low = " ".join(text.lower().split())
    padded = f" {low} "
    for word in low.split(" "):
        _add(vector, word, 3.0)
    for start in range(min(len(padded) - 2, 2000)):
        _add(vector, padded[start : start + 3], 1.0)
    length = math.hypot(*vector) or 1.0
    return [value and value / length for value in vector]


def packed(vector: list[float]) -> str:
    """Base64 of little-endian 32-bit floats."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _add(vector: list[float], feature: str, weight: float) -> None:
    digest = crc32(feature.encode("utf-8", "replace"))
    for _ in range(SPREAD):
        vector[digest % len(vector)] += weight if digest & 0x8000_0000 else -weight
        digest = (digest * 0x9E37_79B1 + 0x7F4A_7C15) & 0xFFFF_FFFF
