"""Read a client's body of this wire into the hub: JSON, or a form that may repeat `text`.

A form is made into the JSON that says the same, so that only one kind of body goes on.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from router.core.api import Ask
from router.core.errors import BadRequest, TooLarge
from router.core.task import TranslateRequest

from .languages import to_tag

SIZE_LIMIT = 128 * 1024
"""Bytes of one body at most."""
TEXTS = 50
"""Texts of one body at most. Source of both: https://developers.deepl.com/docs/translate/
translating-large-volumes, read 2026-11-23."""
_FORM_FIELDS = 1000
_HUB = {"text", "target_lang", "source_lang", "formality"}
# They change what is told beside the translation, or nothing at all.
_SILENT = {"show_billed_characters", "enable_beta_languages"}
_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "split_sentences": (b'"1"',),
    "preserve_formatting": (b"false",),
    "outline_detection": (b"true",),
}
_EMPTY = (b"null", b"[]", b'""')
_LISTS = {"non_splitting_tags", "splitting_tags", "ignore_tags", "glossary_ids"}
"""In a form, words between commas."""
_REPEATED = {"text", "custom_instructions"}
_BOOLS = {
    "show_billed_characters",
    "preserve_formatting",
    "outline_detection",
    "enable_beta_languages",
}
_BOOL = {"1": True, "true": True, "0": False, "false": False}
_INTS = {"translation_memory_threshold"}
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct):
    text: list[str]
    target_lang: str
    source_lang: str | None = None
    formality: Literal["default", "more", "less", "prefer_more", "prefer_less"] | None = None
    show_billed_characters: bool | None = None


_body = msgspec.json.Decoder(_Body)


def ask(raw: bytes, content_type: bytes) -> Ask:
    """Read a body. Raises BadRequest."""
    if len(raw) > SIZE_LIMIT:
        raise TooLarge(f"The body has {len(raw)} bytes; at most {SIZE_LIMIT} are taken. Split it.")
    if content_type.split(b";")[0].strip().lower() == b"application/x-www-form-urlencoded":
        raw = _encode(_form(raw))
    try:
        fields, body = _fields.decode(raw), _body.decode(raw)
    except msgspec.ValidationError as exc:
        where = re.search(r"\$\.(\w+)", str(exc)) or re.search(r"field `(\w+)`", str(exc))
        param = where[1] if where else None
        raise BadRequest(
            f"The body is not right: {exc}.", param=param, code="invalid_type"
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(
            f"The body is not valid JSON: {exc}. Send one JSON object, or a form as "
            "application/x-www-form-urlencoded.",
            code="invalid_json",
        ) from exc
    if not body.text:
        raise BadRequest("`text` is empty: send at least one text.", param="text", code="empty")
    if len(body.text) > TEXTS:
        raise BadRequest(
            f"`text` has {len(body.text)} texts; at most {TEXTS} are taken. Split them.",
            param="text",
            code="too_many_texts",
        )
    # A client's old way of saying its key: it must go nowhere else.
    fields.pop("auth_key", None)
    formality = body.formality
    return Ask(
        route="",
        task="translate",
        request=TranslateRequest(
            texts=tuple(body.text),
            target=_language(body.target_lang, "target_lang"),
            source=_language(body.source_lang, "source_lang") if body.source_lang else None,
            # "Preferred" leaves it to the backend; one of this wire is told the word itself.
            formality=formality if formality in {"more", "less"} else "default",
        ),
        fields=fields,
        extras=frozenset(
            name
            for name in fields.keys() - _HUB - _SILENT
            if bytes(fields[name]) not in (*_EMPTY, *_NEUTRAL.get(name, ()))
        ),
        text_bytes=sum(len(text.encode()) for text in body.text),
        token_bound=len(raw),
    )


def _language(code: str, param: str) -> str:
    tag = to_tag(code)
    if tag is None:
        raise BadRequest(
            f"`{param}` is {code!r}; it must be a code of a language, such as DE or EN-GB.",
            param=param,
            code="invalid_language",
        )
    return tag


def _form(raw: bytes) -> dict[str, Any]:
    """The form's fields as this wire's JSON has them. Raises BadRequest."""
    try:
        # Unescaped bytes must be UTF-8, too.
        pairs = parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FORM_FIELDS
        )
    except ValueError as exc:
        raise BadRequest(
            f"The form cannot be read: {exc}. Send UTF-8, percent-encoded.", code="invalid_form"
        ) from exc
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in _REPEATED:
            fields.setdefault(name, []).append(value)
        elif name in _LISTS:
            fields.setdefault(name, []).extend(word for word in value.split(",") if word)
        elif name in _BOOLS:
            fields[name] = _BOOL.get(value.lower(), value)
        elif name in _INTS and value.isdecimal() and value.isascii() and len(value) < 10:
            fields[name] = int(value)
        else:
            fields[name] = value
    return fields
