"""Which calls may be answered again, and the name of the answer.

    settled(call)     the same request gets the same answer: temperature 0 or a seed for text; the
                      other tasks as they are, unless a recording is to be heard with a temperature;
                      nothing that reads or changes something elsewhere
    digest(call, ..)  SHA-256 over everything in the call that can change its answer

Left out of the digest is only what says who, when and how much (`UNNAMED`): a field of the body
that nobody here knows, a tag, the path and the wire all make another name. The text that is hashed
says where each part ends, so two calls have one name only if they are equal in every part. Unless a
route is shared, the key and its team are parts too: then no key is ever given another's answer.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from router.core.call import Call
from router.core.task import ChatRequest, Sampling, TranscribeRequest

VERSION = 1
"""Of the name and of what is kept under it."""
UNNAMED = frozenset(
    {
        "id",
        "key",  # by its name and team, where the route says so
        "created",
        "arrived",
        "deadline",
        "hurried",
        "answer_by",
        "max_cost",
        "caching",
        "trace",
        # Made from the body, which is a part itself, and from what the route has learned.
        "text_bytes",
        "input_tokens",
        "input_bound",
    }
)
_encode = msgspec.msgpack.Encoder().encode


class _Tool(msgspec.Struct):
    type: str = "function"


_tools = msgspec.json.Decoder(list[_Tool])
_OWN_TOOLS = frozenset({"function", "custom"})
"""The client runs these itself; all others are run by the vendor, who may find something else."""
_CALLED = ("messages", "input", "requests")
"""Fields that can hold the address of an image."""


def settled(call: Call) -> bool:
    """Whether the same request gets the same answer again."""
    request = call.request
    if isinstance(request, Sampling) and request.temperature != 0 and request.seed is None:
        return False
    if isinstance(request, TranscribeRequest) and request.temperature:
        return False
    return not _reaches_out(call)


def _reaches_out(call: Call) -> bool:
    """It stores something at the vendor, has tools run there, or shows images by address."""
    fields = call.fields
    if "store" in fields and bytes(fields["store"]) == b"true":
        return True
    if "tools" in call.extras:
        try:
            if not {t.type for t in _tools.decode(fields["tools"])} <= _OWN_TOOLS:
                return True
        except (msgspec.DecodeError, UnicodeError):
            return True
    request = call.request
    seen = call.task == "annotate" or (
        isinstance(request, ChatRequest)
        and ("input" in call.extras or not all(m.plain for m in request.messages))
    )
    return seen and any(_addressed(bytes(fields[name])) for name in _CALLED if name in fields)


def _addressed(body: bytes) -> bool:
    if b"mage" not in body:  # image_url, input_image, imageUri
        return False
    return any(start in body for start in (b'"http:', b'"https:', b'"gs:'))


def digest(call: Call, config: bytes, *, shared: bool) -> bytes | None:
    """The name of the answer to *call*: 32 bytes; None when it has none.

    *config* is the digest of what the configuration says of the route.
    """
    key = call.key
    who = None if shared else ("", "") if key is None else (key.name, key.team)
    parts = (
        VERSION,
        config,
        who,
        call.route,
        call.task,
        call.wire,
        call.path,
        call.stream,
        call.output_limit,
        sorted(call.tags),
        call.criticality,
        sorted(call.extras),
        sorted((name, bytes(raw)) for name, raw in call.fields.items()),
        call.request,
    )
    try:
        return sha256(_encode(parts)).digest()
    except UnicodeError:  # a lone surrogate, which JSON can say and UTF-8 cannot
        return None
