"""Our own models behind TorchServe, towards them: JSON in, JSON or JSON lines out.

An answer's status and errors are judged by the table in `core/verdict.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from math import ceil
from typing import Any

import msgspec

from router.core.api import Api, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as BAD
from router.core.failure import Failure
from router.core.task import (
    TASKS,
    AnnotateRequest,
    ChatRequest,
    ClassifyRequest,
    CompleteRequest,
    EmbedRequest,
    Request,
    Sampling,
    SpeakRequest,
    Task,
    TranscribeRequest,
    TranslateRequest,
)

from .reader import TorchServeReader


class _Error(msgspec.Struct):
    code: str | int = ""
    type: str = ""
    message: str = ""


_error = msgspec.json.Decoder(_Error)
_encode = msgspec.json.Encoder().encode


class TorchServe:
    """Speaks to one model of one TorchServe."""

    name = "torchserve"
    tasks: frozenset[Task] = frozenset(TASKS)
    base = ""
    encodings: Mapping[Task, frozenset[str]] = {
        "speak": frozenset({"wav", "pcm_s16le"}),
        "transcribe": frozenset(
            {"wav", "flac", "mp3", "ogg_opus", "webm_opus", "aac", "mp4", "pcm_s16le"}
        ),
    }

    def at(self, base: str) -> Api:
        return self

    def auth(self, secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def unfit(self, call: Call, model: str = "") -> str:
        if call.extras:
            return f"local models do not know: {', '.join(sorted(call.extras))}"
        request = call.request
        if isinstance(request, Sampling):
            return _unfit_text(request)
        if isinstance(request, EmbedRequest) and request.dimensions is not None:
            return "local embeddings have a fixed number of dimensions"
        return _unfit_speech(request)

    def request(self, call: Call, model: str) -> Wire:
        return Wire(f"/predictions/{model}", _encode({"task": call.task, **_body(call)}))

    def units(self, call: Call, model: str) -> Usage:
        request = call.request
        if isinstance(request, TranslateRequest):
            return Usage(characters=sum(map(len, request.texts)))
        if isinstance(request, SpeakRequest):
            return Usage(characters=len(request.text))
        if isinstance(request, TranscribeRequest):
            return Usage(seconds=float(ceil(request.seconds)))
        assert isinstance(request, AnnotateRequest)
        images = len(request.images)
        return Usage(images=images, features=tuple((name, images) for name, _ in request.features))

    def reader(self, call: Call, model: str = "") -> Reader:
        return TorchServeReader(call)

    def failure(self, status: int, body: bytes) -> Failure:
        try:
            error = _error.decode(body)
        except BAD:
            return Failure("", body[:200].decode("utf-8", "replace"))
        code = error.code if isinstance(error.code, str) else error.type
        if status == 500 and error.message.startswith("Worker died"):
            code = "WorkerDied"
        return Failure(code, error.message)


def _unfit_text(request: Sampling) -> str:
    if request.n != 1:
        return "local models give one choice per call (n=1)"
    if isinstance(request, ChatRequest) and not all(m.plain for m in request.messages):
        return "local chat models read text only"
    if isinstance(request, CompleteRequest) and len(request.prompts) != 1:
        return "local models take one prompt per call"
    return ""


def _unfit_speech(request: Request) -> str:
    if isinstance(request, SpeakRequest) and request.language is not None:
        return "a local voice speaks its own language, none can be asked for"
    if isinstance(request, TranscribeRequest):
        if request.prompt:
            return "local models take no words that are likely to be said"
        if request.temperature:
            return "local transcription has no temperature"
    return ""


def _body(call: Call) -> dict[str, Any]:
    request = call.request
    if isinstance(request, ChatRequest):
        turns = [{"role": m.role, "content": m.text} for m in request.messages]
        return {"messages": turns, **_sampling(call, request)}
    if isinstance(request, CompleteRequest):
        return {"prompt": request.prompts[0], **_sampling(call, request)}
    if isinstance(request, SpeakRequest):
        return {
            "text": request.text,
            "voice": request.voice or None,
            "speed": request.speed,
            # A stream is always of bare samples; the reader makes a file of them.
            "encoding": "pcm_s16le" if call.stream else request.encoding,
            "stream": call.stream,
        }
    return _plain(request)


def _plain(request: Request) -> dict[str, Any]:
    """Bodies of the tasks that are never streamed."""
    if isinstance(request, EmbedRequest):
        return {"texts": request.texts}
    if isinstance(request, ClassifyRequest):
        return {
            "texts": request.texts,
            "labels": request.labels,
            "multi_label": request.multi_label,
        }
    if isinstance(request, TranslateRequest):
        return {
            "texts": request.texts,
            "target": request.target,
            "source": request.source,
            "formality": request.formality,
        }
    if isinstance(request, TranscribeRequest):
        bare = request.encoding == "pcm_s16le"
        return {
            "audio": b64encode(request.audio).decode(),
            "encoding": request.encoding if bare else "",
            "sample_rate_hz": request.sample_rate_hz if bare else None,
            "channels": request.channels if bare else 1,
            "language": request.language,
            "timestamps": request.timestamps,
        }
    assert isinstance(request, AnnotateRequest)
    return {
        "images": [b64encode(image).decode() for image in request.images],
        "features": request.features,
    }


def _sampling(call: Call, request: Sampling) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": call.output_limit, "stream": call.stream}
    for field in ("temperature", "top_p", "seed"):
        if (value := getattr(request, field)) is not None:
            body[field] = value
    if request.stop:
        body["stop"] = request.stop
    return body
