"""How many pixels an image has, from its first bytes: PNG, GIF, BMP, WebP, JPEG."""

from __future__ import annotations

from struct import error, unpack_from

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame, which says the size."""


def size_of(image: bytes) -> tuple[int, int]:
    """Width and height in pixels; (0, 0) when the bytes do not say."""
    try:
        if image.startswith(b"\x89PNG"):
            width, height = unpack_from(">II", image, 16)
        elif image.startswith(b"GIF8"):
            width, height = unpack_from("<HH", image, 6)
        elif image.startswith(b"BM"):
            width, height = unpack_from("<ii", image, 18)
        elif image[:4] == b"RIFF" and image[8:12] == b"WEBP":
            width, height = _webp(image)
        elif image.startswith(b"\xff\xd8"):
            width, height = _jpeg(image)
        else:
            return 0, 0
    except error:
        return 0, 0
    return abs(width), abs(height)


def _webp(image: bytes) -> tuple[int, int]:
    kind = image[12:16]
    if kind == b"VP8X":
        low, mid, high, low_, mid_, high_ = unpack_from("<6B", image, 24)
        return 1 + (low | mid << 8 | high << 16), 1 + (low_ | mid_ << 8 | high_ << 16)
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", image, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = unpack_from("<HH", image, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(image: bytes) -> tuple[int, int]:
    at = 2
    while at < len(image):
        mark, kind = unpack_from(">BB", image, at)
        if mark != 0xFF:
            break
        if kind == 0xFF:  # a byte of padding
            at += 1
        elif kind in _FRAMES:
            height, width = unpack_from(">HH", image, at + 5)
            return width, height
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # without a length
            at += 2
        else:
            at += 2 + max(2, unpack_from(">H", image, at + 2)[0])
    return 0, 0
