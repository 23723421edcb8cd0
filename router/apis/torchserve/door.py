"""TorchServe's wire towards a client: `POST /predictions/{model}`, where the model is a route.

Answers are those of `docs/decisions/0001`, whichever backend gave them; characters are the code
points of the request's texts and seconds those of the audio, as that page says.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router import audio
from router.core import task as hub
from router.core.api import Ask, Facts, Head, Path, Question, Told, Writer
from router.core.call import Call, Usage
from router.core.errors import AttemptFailed, RouterError
from router.core.reply import Reply
from router.core.verdict import LOST

from .asks import ask

PATH = "/predictions/{model}"
_TYPES = {
    401: "InvalidKeyException",
    403: "InvalidKeyException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    413: "RequestEntityTooLargeException",
    503: "ServiceUnavailableException",
}
"""Names of TorchServe's own errors by status; the rest is the client's mistake, or the server's."""
NOTHING_TOLD = Told()
NO_QUERY: Mapping[str, str] = {}
_encode = msgspec.json.Encoder().encode


class TorchServeDoor:
    """Reads calls and writes answers as our handlers behind TorchServe do."""

    wire = "torchserve"
    # The body says the task; the largest bodies are those of media.
    paths: tuple[Path, ...] = (Path(PATH, "transcribe", frozenset({"POST", "PUT"})),)
    questions: tuple[Question, ...] = ()
    named = True
    content_type = "application/json"
    key_header = "Authorization: Bearer <key>"
    stranger = 401

    def __init__(self) -> None:
        self.questions = (Question("/ping", _ping),)

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        value = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, secret = value.partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else ""

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        return ask(body, told)

    def head(self, call: Call, reply: Reply) -> Head:
        if call.stream and reply.failure is None:
            return Head("application/x-ndjson", ((b"cache-control", b"no-store"),))
        return Head(self.content_type)

    def whole(self, call: Call, reply: Reply) -> bytes:
        if reply.failure is not None:
            return _error(reply.status, reply.failure.message)
        said = _WHOLE[call.task](call, reply, reply.result)
        return _encode({**said, "model": reply.model or call.route})

    def events(self, call: Call, reply: Reply) -> Writer:
        return TorchServeWriter(call, reply)

    def error(self, error: RouterError) -> bytes:
        return _error(error.status, str(error))

    def error_event(self, error: RouterError) -> bytes:
        return _encode({"error": {"code": error.code, "message": str(error)}}) + b"\n"


def _ping(facts: Facts, told: Told) -> bytes:
    return _encode({"status": "Healthy"})


def _error(status: int, message: str) -> bytes:
    other = "InternalServerException" if status >= 500 else "BadRequestException"
    return _encode({"code": status, "type": _TYPES.get(status, other), "message": message})


def _tokens(reply: Reply) -> dict[str, int]:
    used = reply.usage or Usage()
    return {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}


def _input_tokens(reply: Reply) -> dict[str, int]:
    return {"input_tokens": (reply.usage or Usage()).input_tokens}


def _text(call: Call, reply: Reply, result: hub.TextResult) -> dict[str, Any]:
    text, finish = result.texts[0], result.finish[0]
    return {"text": text, "finish_reason": finish, "usage": _tokens(reply)}


def _embed(call: Call, reply: Reply, result: hub.EmbedResult) -> dict[str, Any]:
    return {
        "embeddings": result.vectors,
        "dimensions": result.dimensions,
        "usage": _input_tokens(reply),
    }


def _classify(call: Call, reply: Reply, result: hub.ClassifyResult) -> dict[str, Any]:
    rows = [{"labels": r.labels, "scores": r.scores} for r in result.rankings]
    return {"results": rows, "usage": _input_tokens(reply)}


def _translate(call: Call, reply: Reply, result: hub.TranslateResult) -> dict[str, Any]:
    request = call.request
    assert isinstance(request, hub.TranslateRequest)
    pairs = zip(result.texts, result.detected, strict=True)
    return {
        "translations": [{"text": text, "detected_source": source} for text, source in pairs],
        "usage": {"characters": sum(map(len, request.texts))},
    }


def _speak(call: Call, reply: Reply, result: hub.SpeakResult) -> dict[str, Any]:
    try:
        heard = audio.probe(
            result.audio, encoding=result.encoding, sample_rate_hz=result.sample_rate_hz
        )
    except audio.Unreadable as exc:
        raise AttemptFailed(reply.backend, LOST, f"its audio: {exc}") from exc
    return {
        "audio": b64encode(result.audio).decode(),
        "encoding": result.encoding,
        "sample_rate_hz": result.sample_rate_hz,
        "seconds": heard.seconds,
        "usage": _characters(call),
    }


def _characters(call: Call) -> dict[str, int]:
    request = call.request
    assert isinstance(request, hub.SpeakRequest)
    return {"characters": len(request.text)}


def _transcribe(call: Call, reply: Reply, result: hub.TranscribeResult) -> dict[str, Any]:
    request = call.request
    assert isinstance(request, hub.TranscribeRequest)
    segments = result.segments if request.timestamps != "none" else ()
    words = result.words if request.timestamps == "word" else ()
    return {
        "text": result.text,
        "language": result.language,
        "seconds": result.seconds,
        "segments": [{"start": s.start, "end": s.end, "text": s.text} for s in segments],
        "words": [{"start": w.start, "end": w.end, "text": w.text} for w in words],
        "usage": {"seconds": result.seconds},
    }


def _annotate(call: Call, reply: Reply, result: hub.AnnotateResult) -> dict[str, Any]:
    return {
        "images": [_image(image) for image in result.images],
        "usage": {"images": len(result.images)},
    }


def _image(image: hub.Annotated) -> dict[str, Any]:
    if image.error:
        return {"error": {"code": "invalid_request", "message": image.error}}
    found = [
        {"feature": a.feature, "text": a.text, "score": a.score, "box": a.box}
        for a in image.annotations
    ]
    return {"width": image.width, "height": image.height, "annotations": found}


_WHOLE: dict[str, Callable[[Call, Reply, Any], dict[str, Any]]] = {
    "chat": _text,
    "complete": _text,
    "embed": _embed,
    "classify": _classify,
    "translate": _translate,
    "speak": _speak,
    "transcribe": _transcribe,
    "annotate": _annotate,
}


class TorchServeWriter:
    """Hub events as JSON lines; the last one says that it was the last."""

    def __init__(self, call: Call, reply: Reply) -> None:
        self._call, self._reply = call, reply
        self._finish, self._rate, self._bytes = "stop", 0, 0
        self._half = b""

    def event(self, event: bytes | hub.Event) -> bytes:
        if isinstance(event, hub.Delta):
            return _line({"text": event.text})
        if isinstance(event, hub.Finish):
            self._finish = event.reason
            return b""
        if isinstance(event, hub.Note):
            return b""  # a line of this wire has no place for it
        assert isinstance(event, hub.Audio)
        opening = b""
        if not self._rate:
            self._rate = event.sample_rate_hz
            opening = _line({"encoding": "pcm_s16le", "sample_rate_hz": self._rate})
        # A vendor's pieces end anywhere, those of this wire at a whole sample.
        data = self._half + event.data
        size = len(data) & ~1
        data, self._half = data[:size], data[size:]
        self._bytes += size
        return opening + (_line({"audio": b64encode(data).decode()}) if data else b"")

    def end(self, usage: Usage | None) -> bytes:
        said: dict[str, Any] = {"finish_reason": self._finish}
        if self._call.task == "speak":
            seconds = self._bytes / 2 / self._rate if self._rate else 0.0
            said |= {"seconds": seconds, "usage": _characters(self._call)}
        else:
            used = usage or Usage()
            said["usage"] = {
                "input_tokens": used.input_tokens,
                "output_tokens": used.output_tokens,
            }
        return _line({**said, "model": self._reply.model or self._call.route})


def _line(said: dict[str, Any]) -> bytes:
    return _encode(said) + b"\n"
