"""Our own models behind TorchServe: JSON in, JSON or JSON lines out.

The bodies are those of `docs/decisions/0001-rooms-share-files-and-http.md`; the errors around
them are TorchServe's (`{"code": 503, "type": "...", "message": "..."}`), judged by the table in
`core/verdict.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Annotated, Any

import msgspec

from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.failure import Failure
from router.core.task import (
    ChatRequest,
    ClassifyRequest,
    ClassifyResult,
    CompleteRequest,
    Delta,
    EmbedRequest,
    EmbedResult,
    Event,
    Finish,
    Ranking,
    Result,
    Sampling,
    Task,
    TextResult,
)

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes of one line of a stream at most."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises on bytes that are not the JSON it looks for."""


class _Used(msgspec.Struct):
    input_tokens: _Count
    output_tokens: _Count = 0


class _Ranked(msgspec.Struct):
    labels: tuple[str, ...]
    scores: tuple[float, ...]


class _Whole(msgspec.Struct):
    usage: _Used
    model: str = ""
    text: str | None = None
    finish_reason: str = "stop"
    embeddings: tuple[str, ...] | None = None
    dimensions: int = 0
    results: list[_Ranked] | None = None


class _Line(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None
    usage: _Used | None = None
    model: str = ""
    error: dict[str, str] | None = None


class _Error(msgspec.Struct):
    code: str | int = ""
    type: str = ""
    message: str = ""


_whole = msgspec.json.Decoder(_Whole)
_line = msgspec.json.Decoder(_Line)
_error = msgspec.json.Decoder(_Error)
_encode = msgspec.json.Encoder().encode


class TorchServe:
    """Speaks to one model of one TorchServe."""

    name = "torchserve"
    tasks: frozenset[Task] = frozenset({"chat", "complete", "embed", "classify"})
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
            if request.n != 1:
                return "local models give one choice per call (n=1)"
            if isinstance(request, ChatRequest) and not all(m.plain for m in request.messages):
                return "local chat models read text only"
            if isinstance(request, CompleteRequest) and len(request.prompts) != 1:
                return "local models take one prompt per call"
        elif isinstance(request, EmbedRequest) and request.dimensions is not None:
            return "local embeddings have a fixed number of dimensions"
        return ""

    def request(self, call: Call, model: str) -> Wire:
        request = call.request
        body: dict[str, Any] = {"task": call.task}
        if isinstance(request, ChatRequest):
            body["messages"] = [{"role": m.role, "content": m.text} for m in request.messages]
        elif isinstance(request, CompleteRequest):
            body["prompt"] = request.prompts[0]
        elif isinstance(request, EmbedRequest):
            body["texts"] = request.texts
        elif isinstance(request, ClassifyRequest):
            body |= {
                "texts": request.texts,
                "labels": request.labels,
                "multi_label": request.multi_label,
            }
        if isinstance(request, Sampling):
            body |= {"max_tokens": call.output_limit, "stream": call.stream}
            for field in ("temperature", "top_p", "seed"):
                if (value := getattr(request, field)) is not None:
                    body[field] = value
            if request.stop:
                body["stop"] = request.stop
        return Wire(f"/predictions/{model}", _encode(body))

    def units(self, call: Call, model: str) -> Usage:
        return Usage()  # its machine is paid by the hour

    def reader(self, call: Call, model: str = "") -> TorchServeReader:
        return TorchServeReader(call)

    def failure(self, status: int, body: bytes) -> Failure:
        try:
            error = _error.decode(body)
        except _BAD:
            return Failure("", body[:200].decode("utf-8", "replace"))
        code = error.code if isinstance(error.code, str) else error.type
        if status == 500 and error.message.startswith("Worker died"):
            code = "WorkerDied"
        return Failure(code, error.message)


class TorchServeReader(Reader):
    """Reads one answer into the hub."""

    def __init__(self, call: Call) -> None:
        self._task = call.task
        self._texts = len(getattr(call.request, "texts", ()))
        self._rest = b""
        self._done = False

    def whole(self, body: bytes) -> Result | bytes:
        try:
            answer = _whole.decode(body)
        except _BAD as exc:
            raise Malformed(f"not an answer of our handlers: {exc}") from exc
        result = self._result(answer)
        self.model = answer.model
        self.usage = Usage(answer.usage.input_tokens, answer.usage.output_tokens)
        return result

    def _result(self, answer: _Whole) -> Result:
        if self._task in {"chat", "complete"} and answer.text is not None:
            return TextResult(texts=(answer.text,), finish=(answer.finish_reason,))
        if self._task == "embed" and answer.embeddings is not None:
            size = 4 * -(-4 * answer.dimensions // 3)
            self._fits(answer.embeddings, whole=all(len(v) == size for v in answer.embeddings))
            return EmbedResult(vectors=answer.embeddings, dimensions=answer.dimensions)
        if self._task == "classify" and answer.results is not None:
            ranked = all(r.labels and len(r.labels) == len(r.scores) for r in answer.results)
            self._fits(answer.results, whole=ranked)
            return ClassifyResult(
                rankings=tuple([Ranking(labels=r.labels, scores=r.scores) for r in answer.results])
            )
        raise Malformed(f"an answer without a result for {self._task}")

    def _fits(self, results: Sized, *, whole: bool) -> None:
        if not whole or len(results) != self._texts:
            raise Malformed(f"{len(results)} results for {self._texts} texts, or not whole ones")

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            raise Malformed(f"a line of the stream is larger than {LINE_LIMIT} bytes")
        events: list[bytes | Event] = []
        for line in lines:
            if line:
                self._read(line, events)
        return events

    def end(self) -> bool:
        return self._done

    def _read(self, raw: bytes, events: list[bytes | Event]) -> None:
        try:
            line = _line.decode(raw)
        except _BAD as exc:
            raise Malformed(f"not a line of our handlers: {exc}") from exc
        if line.error is not None:
            raise Malformed(f"the model failed: {line.error.get('message', '')}")
        if line.text:
            events.append(Delta(text=line.text))
        if line.finish_reason is not None and line.usage is not None:
            self._done = True
            self.model = line.model
            self.usage = Usage(line.usage.input_tokens, line.usage.output_tokens)
            events.append(Finish(reason=line.finish_reason))


API: Api = TorchServe()
