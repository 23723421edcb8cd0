"""OpenAI's newer form of a chat, the client's side: `POST /v1/responses`.

Stateless: what would need a stored answer (`previous_response_id`, `conversation`, `background`,
`store: true`) is refused, and nothing is stored at the vendor. Text messages reach every chat
backend through the hub; tools, images, reasoning settings keep the call with backends of this wire.
Source: OpenAI's API description, CreateResponse and Response; read 2026-11-22.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.core.api import Ask
from router.core.call import Call, Usage
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import ChatRequest, Delta, Event, Finish, Message, Note, TextResult

from .asks import IMAGE_TOKENS, MESSAGE_TOKENS, decode, raw_fields, text_size

PATH = "/v1/responses"
_HUB = {
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "stream",
    "stream_options",
}
_SILENT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "truncation",
}
_NEUTRAL = {
    "tools": (b"[]",),
    "tool_choice": (b'"auto"', b'"none"'),
    "include": (b"[]",),
    "text": (b'{"format":{"type":"text"}}', b'{"format": {"type": "text"}}'),
    "background": (b"false",),
}
_STATEFUL = ("previous_response_id", "conversation", "prompt")
_TEXT = {"input_text", "output_text", "text"}
_encode = msgspec.json.Encoder().encode


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    image_url: msgspec.Raw = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None


class _Body(msgspec.Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    # These are shown again in the answer.
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None


_body = msgspec.json.Decoder(_Body)


def ask(raw: bytes) -> Ask:
    """Read a body. Raises BadRequest."""
    fields, body = decode(raw_fields, raw), decode(_body, raw)
    _stateless(fields)
    _check(body)
    items = [_Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    if not items or body.input == "":
        raise BadRequest("`input` is empty: send a text.", param="input", code="empty")
    messages, images = [], 0
    if body.instructions:
        messages.append(Message(role="system", text=body.instructions))
    for item in items:
        message, seen = _message(item)
        messages.append(message)
        images += seen
    # An item that is no message (a tool's call or result, reasoning) has no place in the hub.
    beyond = frozenset({"input"}) if any(i.type != "message" for i in items) else frozenset[str]()
    request = ChatRequest(
        messages=tuple(messages),
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        usage_wanted=True,
    )
    return Ask(
        route=body.model,
        task="chat",
        request=request,
        fields=fields,
        extras=beyond | _extras(fields),
        stream=bool(body.stream),
        text_bytes=sum(text_size(m.text) for m in messages),
        token_bound=len(raw)
        - _pictured(items)
        + MESSAGE_TOKENS * len(messages)
        + IMAGE_TOKENS * images,
    )


def _pictured(items: list[_Item]) -> int:
    """Bytes of the body that are images, which the vendor bills by their pixels."""
    return sum(
        len(bytes(part.image_url))
        for item in items
        if isinstance(item.content, list)
        for part in item.content
        if part.type == "input_image"
    )


def _extras(fields: dict[str, msgspec.Raw]) -> frozenset[str]:
    return frozenset(
        name
        for name in fields.keys() - _HUB - _SILENT
        if bytes(fields[name]) not in (b"null", *_NEUTRAL.get(name, ()))
    )


def _stateless(fields: dict[str, msgspec.Raw]) -> None:
    for name in _STATEFUL:
        if bytes(fields.get(name, b"null")) != b"null":
            raise BadRequest(
                f"`{name}` needs stored state, and nothing is stored here: send the whole "
                "conversation in `input`.",
                param=name,
                code="unsupported_parameter",
            )
    for name in ("store", "background"):
        if bytes(fields.get(name, b"false")) == b"true":
            raise BadRequest(
                f"`{name}` is true, and nothing is stored here: leave it out, or send false.",
                param=name,
                code="unsupported_parameter",
            )


def _check(body: _Body) -> None:
    for name, value, low, high in (
        ("temperature", body.temperature, 0, 2),
        ("top_p", body.top_p, 0, 1),
        ("max_output_tokens", body.max_output_tokens, 1, 10_000_000),
    ):
        if value is not None and not low <= value <= high:
            raise BadRequest(
                f"`{name}` is {value}, it must be between {low} and {high}.",
                param=name,
                code="invalid_value",
            )


def _message(item: _Item) -> tuple[Message, int]:
    """The hub's message, and how many images it holds."""
    content = item.content
    if isinstance(content, str):
        return Message(role=item.role or "user", text=content, plain=item.type == "message"), 0
    parts = content or []
    if any(p.type == "input_file" for p in parts):
        raise BadRequest(
            "An input part of type 'input_file' has no price bound: send its text, or images.",
            param="input",
            code="unsupported_value",
        )
    text = "\n".join(p.text for p in parts if p.type in _TEXT)
    plain = item.type == "message" and bool(parts) and all(p.type in _TEXT for p in parts)
    images = sum(p.type == "input_image" for p in parts)
    return Message(role=item.role or "user", text=text, plain=plain), images


# Answers.


def _usage(usage: Usage | None) -> dict[str, Any]:
    used = usage or Usage()
    return {
        "input_tokens": used.input_tokens,
        "input_tokens_details": {
            "cached_tokens": used.cached_tokens,
            "cache_write_tokens": used.written_tokens,
        },
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.input_tokens + used.output_tokens,
    }


def _shell(call: Call, reply: Reply, status: str) -> dict[str, Any]:
    """A response without its output."""
    request = call.request
    assert isinstance(request, ChatRequest)
    return {
        "id": f"resp_{call.id}",
        "object": "response",
        "created_at": call.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": _given(call, "instructions", None),
        "max_output_tokens": request.max_tokens,
        "model": reply.model or call.route,
        "output": [],
        "parallel_tool_calls": _given(call, "parallel_tool_calls", default=True),
        "previous_response_id": None,
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "metadata": _given(call, "metadata", {}),
    }


def _given(call: Call, name: str, default: Any) -> Any:
    raw = bytes(call.fields.get(name, b"null"))
    return default if raw == b"null" else msgspec.json.decode(raw)


def _item(call: Call, text: str, status: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_{call.id}",
        "status": status,
        "role": "assistant",
        "content": [_part(text)],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _ended(call: Call, reply: Reply, text: str, finish: str, usage: Usage | None) -> dict[str, Any]:
    """The response when all of it is there."""
    cut = finish == "length"
    status = "incomplete" if cut else "completed"
    said = _shell(call, reply, status)
    if cut:
        said["incomplete_details"] = {"reason": "max_output_tokens"}
    return said | {"output": [_item(call, text, status)], "usage": _usage(usage)}


def whole(call: Call, reply: Reply) -> bytes:
    """A response, made of the hub's result."""
    result = reply.result
    assert isinstance(result, TextResult)
    return _encode(_ended(call, reply, result.texts[0], result.finish[0], reply.usage))


class ResponsesWriter:
    """Hub events as the events of a response; frames of the same wire pass as they are."""

    def __init__(self, call: Call, reply: Reply) -> None:
        self._call, self._reply = call, reply
        self._number = 0
        self._texts: list[str] = []
        self._finish = "stop"
        self._raw = self._opened = False
        self._place = {"item_id": f"msg_{call.id}", "output_index": 0, "content_index": 0}

    def event(self, event: bytes | Event) -> bytes:
        if isinstance(event, bytes):
            self._raw = True
            return event
        if isinstance(event, Note):
            return b": isocost %b\n\n" % event.text.encode()
        opening = b"" if self._opened else self._open()
        if isinstance(event, Finish):
            self._finish = event.reason
            return opening
        assert isinstance(event, Delta)
        self._texts.append(event.text)
        said = self._place | {"delta": event.text, "logprobs": []}
        return opening + self._frame("response.output_text.delta", said)

    def end(self, usage: Usage | None) -> bytes:
        if self._raw:
            return b""
        opening = b"" if self._opened else self._open()
        call, text, place = self._call, "".join(self._texts), self._place
        last = _ended(call, self._reply, text, self._finish, usage)
        item = {"output_index": 0, "item": last["output"][0]}
        done = place | {"text": text, "logprobs": []}
        return b"".join(
            [
                opening,
                self._frame("response.output_text.done", done),
                self._frame("response.content_part.done", place | {"part": _part(text)}),
                self._frame("response.output_item.done", item),
                self._frame(f"response.{last['status']}", {"response": last}),
            ]
        )

    def _open(self) -> bytes:
        self._opened = True
        shell = {"response": _shell(self._call, self._reply, "in_progress")}
        item = _item(self._call, "", "in_progress") | {"content": []}
        return b"".join(
            [
                self._frame("response.created", shell),
                self._frame("response.in_progress", shell),
                self._frame("response.output_item.added", {"output_index": 0, "item": item}),
                self._frame("response.content_part.added", self._place | {"part": _part("")}),
            ]
        )

    def _frame(self, kind: str, said: dict[str, Any]) -> bytes:
        frame = {"type": kind, "sequence_number": self._number, **said}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(frame))
