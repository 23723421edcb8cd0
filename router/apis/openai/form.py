"""Bodies of `multipart/form-data`, read and written: how audio files are sent.

Reading is python-multipart's. Source: RFC 7578.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from router.core.errors import BadRequest

PARTS = 64
"""Parts of one body at most."""


class Part(msgspec.Struct, frozen=True):
    """One field; `filename` is "" for plain values."""

    name: str
    value: bytes
    filename: str = ""
    content_type: str = ""


def read_form(body: bytes, content_type: bytes) -> list[Part]:
    """The parts in the order of the body. Raises BadRequest."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequest(
            "The body must be multipart/form-data with a boundary, as your client's library makes "
            "it.",
            code="invalid_content_type",
        )
    reading = _Reading()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reading.begin,
                "on_part_data": reading.data,
                "on_part_end": reading.end,
                "on_header_field": reading.field,
                "on_header_value": reading.value,
                "on_header_end": reading.header,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise BadRequest(f"The body is no right multipart/form-data: {exc}.") from exc
    if not reading.parts or not reading.ended:
        raise BadRequest("The body of multipart/form-data is empty or cut off: send it whole.")
    return reading.parts


class _Reading:
    """What the parser has told so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = True
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._data: list[bytes] = []

    def begin(self) -> None:
        if len(self.parts) >= PARTS:
            raise BadRequest(f"The body has more than {PARTS} parts.")
        self.ended = False
        self._headers, self._data = {}, []

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        self.ended = True
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise BadRequest("A part of the body has no name.")
        self.parts.append(
            Part(
                name.decode("utf-8", "replace"),
                b"".join(self._data),
                options.get(b"filename", b"").decode("utf-8", "replace"),
                self._headers.get(b"content-type", b"").decode("latin-1"),
            )
        )


def write_form(parts: Iterable[Part]) -> tuple[str, bytes]:
    """Content type and body. The boundary comes from the content, so that equal forms are equal."""
    given = list(parts)
    boundary = sha256(b"\0".join(p.name.encode() + b"\0" + p.value for p in given)).hexdigest()[:32]
    chunks: list[bytes] = []
    for part in given:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.name)}"'
        if part.filename:
            head += f'; filename="{_quoted(part.filename)}"'
        if part.content_type:
            head += f"\r\nContent-Type: {part.content_type}"
        chunks += [head.encode(), b"\r\n\r\n", part.value, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(chunks)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
