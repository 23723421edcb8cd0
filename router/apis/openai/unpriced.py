"""What a chat may ask for beyond tokens at list price: no price is known, so there is no quote.

Source: https://platform.openai.com/docs/pricing, read 2026-11-22: tools that the vendor runs (web
search, file search, code interpreter, images, ...) are billed by the use, and service tiers and
audio by prices of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.core.call import Call

_APART = {"service_tier", "web_search_options", "modalities", "audio", "tools"}
_OWN_TOOLS = {"function", "custom"}
"""Kinds that the client runs."""


class _Tool(msgspec.Struct):
    type: str = ""


_tools = msgspec.json.Decoder(list[_Tool] | None)


def unpriced(call: Call) -> str:
    """What of *call* has no known price; "" when all of it has."""
    fields = call.fields
    if _APART.isdisjoint(fields):
        return ""
    tier = bytes(fields.get("service_tier", b"null"))
    if tier not in {b"null", b'"auto"', b'"default"', b'"flex"'}:
        return f"no price is known for service_tier {tier.decode()}"
    if b'"audio"' in bytes(fields.get("modalities", b"")):
        return "no price is known for audio in chats"
    for name in ("web_search_options", "audio"):
        if bytes(fields.get(name, b"null")) != b"null":
            return f"no price is known for {name}"
    return _unpriced_tools(fields)


def _unpriced_tools(fields: Mapping[str, msgspec.Raw]) -> str:
    try:
        tools = _tools.decode(fields.get("tools", b"null")) or []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # no tools in any form of this wire: the vendor refuses it
    others = sorted({tool.type for tool in tools} - _OWN_TOOLS)
    return f"no price is known for the tool {', '.join(others)}" if others else ""
