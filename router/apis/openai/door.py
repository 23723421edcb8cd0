"""OpenAI's wire towards a client: any official SDK works by its base URL."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from struct import unpack
from typing import Any

import msgspec

from router.core.api import Ask, Head, Path, Question, Told, Writer
from router.core.call import Call, Usage
from router.core.errors import RouterError
from router.core.reply import Reply
from router.core.task import Delta, EmbedResult, Event, Finish, Note, Result, Sampling, TextResult

from . import asks, models, responses, speech, transcription

_encode = msgspec.json.Encoder().encode
JSON = Head("application/json")
STREAM = Head("text/event-stream; charset=utf-8", ((b"cache-control", b"no-store"),))
_READERS = asks.READERS | {responses.PATH: responses.ask, speech.PATH: speech.ask}
NO_QUERY: Mapping[str, str] = {}
NOTHING_TOLD = Told()


class OpenAIDoor:
    """Reads calls and writes answers as OpenAI does."""

    wire = "openai"
    paths: tuple[Path, ...] = (
        Path("/v1/chat/completions", "chat"),
        Path("/v1/completions", "complete"),
        Path("/v1/embeddings", "embed"),
        Path(responses.PATH, "chat"),
        Path(speech.PATH, "speak"),
        Path(transcription.PATH, "transcribe"),
    )
    questions: tuple[Question, ...] = models.questions(paths)
    named = True
    content_type = "application/json"
    key_header = "Authorization: Bearer <key>"
    stranger = 401

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        value = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, secret = value.partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else ""

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        if path == transcription.PATH:
            return transcription.ask(body, told.headers.get(b"content-type", b""))
        return _READERS[path](body)

    def head(self, call: Call, reply: Reply) -> Head:
        if reply.failure is not None:
            return JSON
        if call.task == "speak":
            return speech.head(call)
        if call.task == "transcribe":
            return transcription.head(call)
        return STREAM if call.stream else JSON

    def whole(self, call: Call, reply: Reply) -> bytes:
        if reply.failure is not None:
            return reply.failure.raw or error_body(
                reply.failure.message, "invalid_request_error", reply.failure.code, None
            )
        if call.task == "speak":
            return speech.whole(reply)
        if call.task == "transcribe":
            return transcription.whole(call, reply)
        if reply.body:
            return reply.body
        if call.path == responses.PATH:
            return responses.whole(call, reply)
        return _encode(_whole(call, reply, reply.result))

    def events(self, call: Call, reply: Reply) -> Writer:
        if call.task == "speak":
            return speech.SpeechWriter(call)
        if call.path == responses.PATH:
            return responses.ResponsesWriter(call, reply)
        return OpenAIWriter(call, reply)

    def error(self, error: RouterError) -> bytes:
        return error_body(str(error), kind(error.status), error.code, error.param)

    def error_event(self, error: RouterError) -> bytes:
        return b"data: %b\n\n" % self.error(error)


def kind(status: int) -> str:
    """OpenAI's error `type` for a status."""
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_body(message: str, kind: str, code: str | None, param: str | None) -> bytes:
    """An error in OpenAI's shape."""
    return _encode(
        {"error": {"message": message, "type": kind, "param": param, "code": code or None}}
    )


def _usage(usage: Usage | None) -> dict[str, Any]:
    used = usage or Usage()
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }


def _whole(call: Call, reply: Reply, result: Result | None) -> dict[str, Any]:
    model = reply.model or call.route
    if isinstance(result, EmbedResult):
        request = call.request
        as_text = getattr(request, "encoding", "float") == "base64"
        size = result.dimensions
        vectors: list[Any] = [
            v if as_text else unpack(f"<{size}f", b64decode(v)) for v in result.vectors
        ]
        used = reply.usage or Usage()
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": used.input_tokens, "total_tokens": used.input_tokens},
        }
    assert isinstance(result, TextResult)
    chat = call.task == "chat"
    choices = [_choice(i, text, result.finish[i], chat=chat) for i, text in enumerate(result.texts)]
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{call.id}",
        "object": "chat.completion" if chat else "text_completion",
        "created": call.created,
        "model": model,
        "choices": choices,
        "usage": _usage(reply.usage),
    }


def _choice(index: int, text: str, finish: str, *, chat: bool) -> dict[str, Any]:
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": text, "refusal": None}}
        if chat
        else {"text": text}
    )
    return {"index": index, **said, "logprobs": None, "finish_reason": finish}


class OpenAIWriter:
    """Hub events as chunks; raw frames of the same wire pass as they are."""

    def __init__(self, call: Call, reply: Reply) -> None:
        self._chat = call.task == "chat"
        request = call.request
        self._wanted = isinstance(request, Sampling) and request.usage_wanted
        self._opened = self._raw = False
        head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{call.id}",
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": call.created,
            "model": reply.model or call.route,
        }
        self._head = b"data: " + _encode(head)[:-1] + b","

    def event(self, event: bytes | Event) -> bytes:
        if isinstance(event, bytes):
            self._raw = True
            return event
        if isinstance(event, Note):
            return b": isocost %b\n\n" % event.text.encode()
        opening = b""
        if self._chat and not self._opened:
            self._opened = True
            opening = self._chunk({"delta": {"role": "assistant", "content": ""}}, None)
        if isinstance(event, Delta):
            said = {"delta": {"content": event.text}} if self._chat else {"text": event.text}
            return opening + self._chunk(said, None)
        assert isinstance(event, Finish)
        return opening + self._chunk({"delta": {}} if self._chat else {"text": ""}, event.reason)

    def end(self, usage: Usage | None) -> bytes:
        if self._raw:
            return b""
        last = b""
        if self._wanted:
            last = self._head + b'"choices":[],"usage":' + _encode(_usage(usage)) + b"}\n\n"
        return last + b"data: [DONE]\n\n"

    def _chunk(self, said: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return self._head + b'"choices":[' + _encode(choice) + b"]}\n\n"
