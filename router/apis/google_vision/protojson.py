"""Protobuf's JSON, as clients of Google's wires may write it.

Names come in camelCase or snake_case, enums as names or numbers, numbers also as texts, bytes in
base64 of either alphabet with or without padding; null is the same as nothing.
Source: https://protobuf.dev/programming-guides/json/, read 2026-11-23.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from router.core.errors import BadRequest

T = TypeVar("T")
_any = msgspec.json.Decoder()
_raws = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STANDARD = str.maketrans("-_", "+/")
_SNAKE = re.compile(r"_([a-z0-9])")


def read(raw: bytes) -> tuple[dict[str, msgspec.Raw], dict[str, Any]]:
    """A body's fields as they came, and their values under names in camelCase.

    Raises BadRequest.
    """
    try:
        fields, values = _raws.decode(raw), _camel(_any.decode(raw), "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(
            f"The body is not valid JSON: {exc}. Send one JSON object.", code="invalid_json"
        ) from exc
    return fields, values


def _camel(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            name = _SNAKE.sub(lambda m: m[1].upper(), key) if "_" in key else key
            path = f"{where}.{name}" if where else name
            if name in found:
                raise BadRequest(f"`{path}` stands there twice.", param=path)
            if inner is not None:
                found[name] = _camel(inner, path)
        return found
    if isinstance(value, list):
        return [_camel(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    return value


def shaped(values: Any, shape: type[T]) -> T:
    """*values* as *shape*. Raises BadRequest that names the field."""
    try:
        return msgspec.convert(values, shape, strict=False)
    except (msgspec.ValidationError, RecursionError) as exc:
        where = re.search(r"`\$\.?([^`]*)`", str(exc))
        raise BadRequest(
            f"The body is not right: {exc}.",
            param=where[1] if where else None,
            code="invalid_type",
        ) from exc


def number(value: str | int, names: Mapping[str, int], where: str) -> int:
    """The number of an enum's value that is given by name or number. Raises BadRequest."""
    found = names.get(value) if isinstance(value, str) else value
    if found is None and isinstance(value, str) and value.isdecimal() and len(value) < 10:
        found = int(value)
    if found is None or found not in names.values():
        raise BadRequest(
            f"`{where}` is {value!r}; it must be one of {', '.join(names)}.",
            param=where,
            code="invalid_value",
        )
    return found


def data(text: str, where: str) -> bytes:
    """The bytes in a text of base64. Raises BadRequest."""
    plain = text.translate(_STANDARD).rstrip("=")
    try:
        return a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except (Error, ValueError) as exc:
        raise BadRequest(
            f"`{where}` is not base64: {exc}. Send the file's bytes in base64, without line ends.",
            param=where,
            code="invalid_base64",
        ) from exc


def matters(value: Any) -> bool:
    """Whether a field says anything: in protobuf a default value is the same as nothing."""
    if isinstance(value, dict):
        return any(matters(inner) for inner in value.values())
    if isinstance(value, list):
        return any(matters(inner) for inner in value)
    return bool(value)


def beyond(values: Mapping[str, Any], known: frozenset[str], where: str) -> set[str]:
    """The paths of the fields that say something and are not *known*."""
    dot = f"{where}." if where else ""
    return {f"{dot}{name}" for name in values.keys() - known if matters(values[name])}
