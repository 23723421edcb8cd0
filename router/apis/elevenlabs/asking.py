"""Read a client's body of this wire into the hub. What is not right is a 422, as the vendor's.

Voice and output format stand in the URL, everything else in the body. `model_id` may name a route;
a vendor's own model there leaves the route to the header or to the door.
"""

from __future__ import annotations

import re
from typing import Annotated, NoReturn

import msgspec

from router.core.api import Ask, Told
from router.core.errors import BadRequest
from router.core.task import SpeakRequest

from .formats import FORMATS

SPEED = (0.7, 1.2)
"""Slowest and fastest speech of this wire. Source: the vendor's page on voice settings."""
QUERY = ("enable_logging", "optimize_streaming_latency", "output_format")
"""What the URL says; it travels with the fields of the body, none of which has such a name."""
_HUB = {"text", "model_id", "voice_settings", "language_code", "output_format"}
# How soon the vendor begins, not what it says.
_SILENT = {"optimize_streaming_latency"}
_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "apply_text_normalization": (b'"auto"',),
    "apply_language_text_normalization": (b"false",),
    "use_pvc_as_ivc": (b"false",),
    "enable_logging": (b"true",),
}
_EMPTY = (b"null", b"[]", b'""', b"{}")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_BOOL = {"true": True, "1": True, "false": False, "0": False}


class Unprocessable(BadRequest):
    """The vendor's status for a body or query that is not right; `param` names where."""

    status = 422
    code = "invalid_request"


class _Settings(msgspec.Struct):
    speed: Annotated[float, msgspec.Meta(ge=SPEED[0], le=SPEED[1])] | None = None


class _Body(msgspec.Struct):
    text: str
    model_id: str | None = None
    language_code: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]+)*$")] | (
        None
    ) = None
    voice_settings: _Settings | None = None


_body = msgspec.json.Decoder(_Body)
_settings = msgspec.json.Decoder(dict[str, msgspec.Raw])


def ask(raw: bytes, told: Told, *, stream: bool) -> Ask:
    """Read a body. Raises BadRequest."""
    try:
        fields, body = _fields.decode(raw), _body.decode(raw)
    except msgspec.ValidationError as exc:
        _refuse(f"{exc}.", _where(exc), "invalid_type")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        _refuse(f"The body is not valid JSON: {exc}. Send one JSON object.", "body", "json_invalid")
    if not body.text.strip():
        _refuse("`text` is empty: send a text to speak.", "body.text", "empty")
    fields = {name: fields[name] for name in fields.keys() - set(QUERY)} | _query(told)
    said = msgspec.json.decode(fields.get("output_format", b"null"), type=str | None)
    sound = FORMATS[_output(said, stream=stream)] if said is not None else None
    settings = body.voice_settings or _Settings()
    return Ask(
        route=body.model_id or "",
        task="speak",
        request=SpeakRequest(
            text=body.text,
            voice=told.params.get("voice_id", ""),
            encoding=sound.encoding if sound else "mp3",
            sample_rate_hz=sound.sample_rate_hz if sound else None,
            bit_rate=sound.bit_rate if sound else None,
            speed=1.0 if settings.speed is None else settings.speed,
            language=body.language_code,
        ),
        fields=fields,
        extras=_extras(fields),
        stream=stream,
        text_bytes=len(body.text.encode()),
        token_bound=len(raw),
    )


def _query(told: Told) -> dict[str, msgspec.Raw]:
    """What the URL says, as JSON values."""
    found: dict[str, object] = {}
    for name in QUERY:
        said = told.query.get(name)
        if said is None:
            continue
        if name == "enable_logging":
            if said.lower() not in _BOOL:
                _refuse(f"`{name}` is {said!r}; it must be true or false.", f"query.{name}", "bool")
            found[name] = _BOOL[said.lower()]
        elif name == "optimize_streaming_latency":
            if said not in {"0", "1", "2", "3", "4"}:
                _refuse(f"`{name}` is {said!r}; it must be 0 to 4.", f"query.{name}", "int")
            found[name] = int(said)
        else:
            found[name] = said
    return {name: msgspec.Raw(_encode(value)) for name, value in found.items()}


def _output(said: str, *, stream: bool) -> str:
    known = [name for name in FORMATS if not (stream and name.startswith("wav_"))]
    if said not in known:
        where = " of streams" if stream else ""
        _refuse(
            f"`output_format` is {said!r}; those{where} are {', '.join(known)}.",
            "query.output_format",
            "invalid_output_format",
        )
    return said


def _extras(fields: dict[str, msgspec.Raw]) -> frozenset[str]:
    found = {
        name
        for name in fields.keys() - _HUB - _SILENT
        if bytes(fields[name]) not in (*_EMPTY, *_NEUTRAL.get(name, ()))
    }
    settings = bytes(fields.get("voice_settings", b"null"))
    if settings not in _EMPTY:
        given = _settings.decode(settings)
        if any(bytes(given[name]) != b"null" for name in given.keys() - {"speed"}):
            found.add("voice_settings")
    return frozenset(found)


def _where(exc: msgspec.ValidationError) -> str:
    """The path of a fault, as `body.voice_settings.speed`."""
    path = re.search(r"at `\$([^`]*)`", str(exc))
    missing = re.search(r"required field `(\w+)`", str(exc))
    return f"body{path[1] if path else ''}" + (f".{missing[1]}" if missing else "")


def _refuse(message: str, where: str, code: str) -> NoReturn:
    raise Unprocessable(message, param=where, code=code)
