"""OpenAI's wire towards a backend: the vendor, or any server that speaks it by base URL."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from struct import pack
from typing import Any

import msgspec

from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as _BAD
from router.core.failure import Failure
from router.core.task import (
    ChatRequest,
    CompleteRequest,
    Delta,
    EmbedRequest,
    EmbedResult,
    Event,
    Finish,
    Result,
    Sampling,
    Task,
    TextResult,
)

from . import pictures, responding, responses, speech, transcribing
from .frames import Frames
from .unpriced import unpriced
from .wire import Answer, Choice, Chunk, ErrorBody, Vector, usage_of

VENDOR = "https://api.openai.com/v1"
_PATHS = {"chat": "/chat/completions", "complete": "/completions", "embed": "/embeddings"}
_answer = msgspec.json.Decoder(Answer)
_choices = msgspec.json.Decoder(list[Choice])
_vectors = msgspec.json.Decoder(list[Vector])
_chunk = msgspec.json.Decoder(Chunk)
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_error = msgspec.json.Decoder(ErrorBody)
_encode = msgspec.json.Encoder().encode
NO_USAGE = b',"usage":null'
_WANT_USAGE = msgspec.Raw(b'{"include_usage":true}')


class OpenAI:
    """Speaks to one server. *limit_field* is how that server names the output maximum of a chat."""

    name = "openai"
    tasks: frozenset[Task] = frozenset(
        {"chat", "complete", "embed", "speak", "transcribe", "annotate"}
    )
    base = VENDOR
    encodings: Mapping[Task, frozenset[str]] = {
        "speak": frozenset(speech.SENDS.values()),
        "transcribe": transcribing.READS,
    }

    def __init__(self, limit_field: str = "max_completion_tokens") -> None:
        self._limit_field = limit_field

    def at(self, base: str) -> Api:
        # Other servers know the older name only; the vendor's newer models only the newer one.
        return self if base == VENDOR else OpenAI("max_tokens")

    def auth(self, secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def unfit(self, call: Call, model: str = "") -> str:
        if call.task not in self.tasks:
            return f"openai has no {call.task}"
        if call.extras and call.wire != self.name:
            return f"parameters of the {call.wire} wire: {', '.join(sorted(call.extras))}"
        if call.task == "speak":
            return speech.unfit(call)
        if call.task == "transcribe":
            return transcribing.unfit(call, model)
        if call.task == "annotate":
            return pictures.unfit(call)
        return unpriced(call)

    def request(self, call: Call, model: str) -> Wire:
        if call.task == "speak":
            return speech.request(call, model)
        if call.task == "transcribe":
            return transcribing.request(call, model)
        if call.task == "annotate":
            return pictures.request(call, model, self._limit_field)
        if _responses(call):
            return responding.request(call, model)
        fields = dict(call.fields) if call.wire == self.name else _from_hub(call)
        fields["model"] = _raw(model)
        request = call.request
        if isinstance(request, Sampling):
            for old in ("max_tokens", "max_completion_tokens"):
                fields.pop(old, None)
            limit = self._limit_field if call.task == "chat" else "max_tokens"
            fields[limit] = _raw(call.output_limit // outputs(request))
            if call.stream:
                fields["stream"] = msgspec.Raw(b"true")
                fields["stream_options"] = _with_usage(fields.get("stream_options"))
        return Wire(_PATHS[call.task], _encode(fields))

    def units(self, call: Call, model: str) -> Usage:
        if call.task == "speak":
            return speech.units(call, model)
        if call.task == "transcribe":
            return transcribing.units(call, model)
        return pictures.units(call, model)

    def reader(self, call: Call, model: str = "") -> Reader:
        if call.task == "speak":
            return speech.SpeechReader(call, model)
        if call.task == "transcribe":
            return transcribing.TranscriptionReader(call, model)
        if call.task == "annotate":
            return pictures.PictureReader(call)
        return responding.ResponsesReader() if _responses(call) else OpenAIReader(call)

    def failure(self, status: int, body: bytes) -> Failure:
        return failure(body)


def _responses(call: Call) -> bool:
    return call.path == responses.PATH and call.wire == OpenAI.name


def outputs(request: Sampling) -> int:
    """Texts that the request makes a model write, and so pays for."""
    if isinstance(request, CompleteRequest):
        return max(request.n, request.best_of) * len(request.prompts)
    return request.n


def failure(body: bytes) -> Failure:
    """The error in OpenAI's shape; what is not in that shape is quoted."""
    try:
        error = _error.decode(body).error
    except _BAD:
        return Failure("", body[:200].decode("utf-8", "replace"))
    if isinstance(error, str):
        return Failure("", error, None, body)
    return Failure(str(error.code or error.type or ""), error.message or "", error.param, body)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """The caller's own stream options, and the wish for usage."""
    if options is None or bytes(options) == b"null":
        return _WANT_USAGE
    return _raw(_raw_fields.decode(options) | {"include_usage": True})


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _from_hub(call: Call) -> dict[str, msgspec.Raw]:
    request = call.request
    body: dict[str, Any]
    if isinstance(request, ChatRequest):
        body = {"messages": [{"role": m.role, "content": m.text} for m in request.messages]}
    elif isinstance(request, CompleteRequest):
        body = {"prompt": request.prompts}
    elif isinstance(request, EmbedRequest):
        body = {"input": request.texts, "encoding_format": "base64"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
    else:
        raise TypeError(f"openai cannot carry {type(request).__name__}")
    if isinstance(request, Sampling):
        given = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "n": request.n if request.n != 1 else None,
        }
        body |= {name: value for name, value in given.items() if value is not None}
    return {name: _raw(value) for name, value in body.items()}


class OpenAIReader(Reader):
    """Reads one answer: raw for a caller of the same wire, else into the hub."""

    def __init__(self, call: Call) -> None:
        self._task = call.task
        self._raw = call.wire == OpenAI.name
        self._request = request = call.request
        self._wanted = isinstance(request, Sampling) and request.usage_wanted
        self._frames = Frames()
        self._said: Usage | None = None
        self._any = self._done = False

    def whole(self, body: bytes) -> Result | bytes:
        try:
            answer = _answer.decode(body)
            payload = answer.data if self._task == "embed" else answer.choices
            if bytes(payload) in {b"", b"null"}:
                raise Malformed("the answer holds no choices and no data")
            self.model = answer.model
            self.usage = usage_of(answer.usage, writes=self._task != "embed")
            if self._raw:
                return body
            if isinstance(self._request, EmbedRequest):
                return _vectors_result(payload, len(self._request.texts))
            return _text_result(payload)
        except (*_BAD, OverflowError) as exc:  # a number that no float32 can hold
            raise Malformed(f"not an answer of OpenAI's wire: {exc}") from exc

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        if self._raw and self._alone(chunk):
            return [chunk.replace(NO_USAGE, b"")]
        events: list[bytes | Event] = []
        for data in self._frames.feed(chunk):
            if self._done:
                break  # what follows the end is no part of the answer
            if data == b"[DONE]":
                if not self._any:
                    raise Malformed("the stream ended without an event that holds choices")
                self._done = True
                self.usage = self._said
                if self._raw:
                    events.append(b"data: [DONE]\n\n")
            elif self._raw and b'"error"' not in data and self._plain(data):
                events.append(b"data: %b\n\n" % data.replace(NO_USAGE, b""))
            else:
                events += self._read(data)
        if self._raw and len(events) > 1:
            return [b"".join(events)]  # type: ignore[arg-type]
        return events

    def _alone(self, chunk: bytes) -> bool:
        """Exactly one frame that can pass as it is: what nearly every packet of a stream holds."""
        return (
            not self._frames.held
            and chunk.startswith(b"data: {")
            and chunk.find(b"\n\n") == len(chunk) - 2
            and b"\r" not in chunk
            and b'"error"' not in chunk
            and self._plain(chunk)
        )

    def end(self) -> bool:
        return self._done

    def _plain(self, data: bytes) -> bool:
        """Nothing in it needs decoding: no usage, or the empty one that nobody asked to see."""
        if b'"choices":' not in data:
            return False
        self._any = True
        return b'"usage"' not in data or (not self._wanted and NO_USAGE in data)

    def _read(self, data: bytes) -> list[bytes | Event]:
        try:
            chunk = _chunk.decode(data)
            if bytes(chunk.error) not in {b"", b"null"}:
                raise Malformed(f"error in the stream: {failure(data).message}")
            self.model = chunk.model or self.model
            told = bytes(chunk.usage) not in {b"", b"null"}
            if chunk.choices is None and not told:
                raise Malformed("an event that holds neither choices nor usage")
            self._any |= chunk.choices is not None
            if told:
                # Some servers count up from event to event: only the last count is the usage.
                self._said = usage_of(chunk.usage)
                if not chunk.choices:
                    self.usage = self._said
            if not self._raw:
                return _hub_events(chunk)
            if self._wanted:
                return [b"data: %b\n\n" % data]
            if told and not chunk.choices:
                return []
            fields = _raw_fields.decode(data)
            fields.pop("usage", None)
            return [b"data: %b\n\n" % _encode(fields)]
        except _BAD as exc:
            raise Malformed(f"not an event of OpenAI's wire: {exc}") from exc


def _hub_events(chunk: Chunk) -> list[bytes | Event]:
    events: list[bytes | Event] = []
    for choice in chunk.choices or ():
        text = choice.delta.content if choice.delta else choice.text
        if text:
            events.append(Delta(text=text))
        if choice.finish_reason:
            events.append(Finish(reason=choice.finish_reason))
    return events


def _text_result(payload: msgspec.Raw) -> TextResult:
    choices = _choices.decode(payload)
    if not choices:
        raise Malformed("the answer holds no choices")
    return TextResult(
        texts=tuple([(c.message.content if c.message else c.text) or "" for c in choices]),
        finish=tuple([c.finish_reason or "stop" for c in choices]),
    )


def _vectors_result(payload: msgspec.Raw, texts: int) -> EmbedResult:
    vectors = [
        v.embedding
        if isinstance(v.embedding, str)
        else b64encode(pack(f"<{len(v.embedding)}f", *v.embedding)).decode()
        for v in sorted(_vectors.decode(payload), key=lambda v: v.index)
    ]
    if len(vectors) != texts:
        raise Malformed(f"{len(vectors)} vectors for {texts} texts")
    size = len(vectors[0]) * 3 // 16
    return EmbedResult(vectors=tuple(vectors), dimensions=size)
