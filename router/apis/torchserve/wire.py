"""What our handlers answer, as `docs/decisions/0001` says it, and the hub results it becomes.

An answer that does not hold what was asked for (a result for each text, times where times were
asked for, findings only of the features asked for) is Malformed: it must not pass as whole.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Sized
from typing import Annotated, Any

import msgspec

from router.core import task as hub
from router.core.api import Malformed
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as BAD
from router.core.counts import Count, Seconds

Rate = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Tokens(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count = 0


class Characters(msgspec.Struct):
    characters: Count


class Heard(msgspec.Struct):
    seconds: Seconds


class Seen(msgspec.Struct):
    images: Count


class _Answer(msgspec.Struct, kw_only=True):
    model: str = ""


class Text(_Answer):
    text: str
    usage: Tokens
    finish_reason: str = "stop"


class Vectors(_Answer):
    embeddings: tuple[str, ...]
    dimensions: Annotated[int, msgspec.Meta(ge=0)]
    usage: Tokens


class Ranked(msgspec.Struct):
    labels: tuple[str, ...]
    scores: tuple[float, ...]


class Classified(_Answer):
    results: list[Ranked]
    usage: Tokens


class Turned(msgspec.Struct):
    text: str
    detected_source: str | None = None


class Translated(_Answer):
    translations: list[Turned]
    usage: Characters


class Spoken(_Answer):
    audio: str
    encoding: str
    sample_rate_hz: Rate
    usage: Characters


class Span(msgspec.Struct):
    start: Seconds
    end: Seconds
    text: str


class Transcribed(_Answer):
    text: str
    seconds: Seconds
    usage: Heard
    language: str | None = None
    segments: list[Span] = []
    words: list[Span] = []


class Finding(msgspec.Struct):
    feature: str
    text: str
    score: Score | None = None
    box: tuple[int, int, int, int] | None = None


class Fault(msgspec.Struct):
    message: str
    code: str = ""


class Picture(msgspec.Struct):
    width: Count = 0
    height: Count = 0
    annotations: list[Finding] = []
    error: Fault | None = None


class Annotated_(_Answer):  # noqa: N801 - the plain name is typing's
    images: list[Picture]
    usage: Seen


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "chat": msgspec.json.Decoder(Text),
    "complete": msgspec.json.Decoder(Text),
    "embed": msgspec.json.Decoder(Vectors),
    "classify": msgspec.json.Decoder(Classified),
    "translate": msgspec.json.Decoder(Translated),
    "speak": msgspec.json.Decoder(Spoken),
    "transcribe": msgspec.json.Decoder(Transcribed),
    "annotate": msgspec.json.Decoder(Annotated_),
}


def read(call: Call, body: bytes) -> tuple[hub.Result, Usage, str]:
    """Result, usage and model of a whole answer. Raises Malformed."""
    try:
        answer = _DECODERS[call.task].decode(body)
    except BAD as exc:
        raise Malformed(f"not an answer of our handlers for {call.task}: {exc}") from exc
    result = _RESULTS[call.task](answer, call.request)
    return result, used(call, answer.usage), answer.model


def used(call: Call, said: Tokens | Characters | Heard | Seen) -> Usage:
    """The hub's usage of what an answer says that it took."""
    if isinstance(said, Tokens):
        return Usage(said.input_tokens, said.output_tokens)
    if isinstance(said, Characters):
        return Usage(characters=said.characters)
    if isinstance(said, Heard):
        return Usage(seconds=said.seconds)
    request = call.request
    assert isinstance(request, hub.AnnotateRequest)
    features = tuple((name, said.images) for name, _ in request.features)
    return Usage(images=said.images, features=features)


def audio(text: str, encoding: str) -> bytes:
    """Decoded base64; bare samples come in pairs of bytes. Raises Malformed."""
    try:
        found = b64decode(text, validate=True)
    except ValueError as exc:
        raise Malformed(f"the audio is not base64: {exc}") from exc
    if encoding == "pcm_s16le" and len(found) % 2:
        raise Malformed("the audio ends in half a sample")
    return found


def _fits(results: Sized, asked: Sized, what: str = "texts", *, whole: bool = True) -> None:
    if not whole or len(results) != len(asked):
        raise Malformed(f"{len(results)} results for {len(asked)} {what}, or not whole ones")


def _text(answer: Text, request: Any) -> hub.Result:
    return hub.TextResult(texts=(answer.text,), finish=(answer.finish_reason,))


def _vectors(answer: Vectors, request: hub.EmbedRequest) -> hub.Result:
    size = 4 * -(-4 * answer.dimensions // 3)
    whole = all(len(v) == size for v in answer.embeddings)
    _fits(answer.embeddings, request.texts, whole=whole)
    return hub.EmbedResult(vectors=answer.embeddings, dimensions=answer.dimensions)


def _ranked(answer: Classified, request: hub.ClassifyRequest) -> hub.Result:
    whole = all(r.labels and len(r.labels) == len(r.scores) for r in answer.results)
    _fits(answer.results, request.texts, whole=whole)
    return hub.ClassifyResult(
        rankings=tuple([hub.Ranking(labels=r.labels, scores=r.scores) for r in answer.results])
    )


def _translated(answer: Translated, request: hub.TranslateRequest) -> hub.Result:
    _fits(answer.translations, request.texts)
    return hub.TranslateResult(
        texts=tuple([t.text for t in answer.translations]),
        detected=tuple([t.detected_source for t in answer.translations]),
    )


def _spoken(answer: Spoken, request: hub.SpeakRequest) -> hub.Result:
    if answer.encoding != request.encoding:
        raise Malformed(f"audio in {answer.encoding!r} where {request.encoding} was asked for")
    found = audio(answer.audio, answer.encoding)
    if not found:
        raise Malformed("the answer holds no audio")
    return hub.SpeakResult(
        audio=found, encoding=request.encoding, sample_rate_hz=answer.sample_rate_hz
    )


def _transcribed(answer: Transcribed, request: hub.TranscribeRequest) -> hub.Result:
    times = {"none": True, "segment": answer.segments, "word": answer.words}[request.timestamps]
    if answer.text.strip() and not times:
        raise Malformed(f"a text without the times of its {request.timestamps}s")
    return hub.TranscribeResult(
        text=answer.text,
        language=answer.language,
        seconds=answer.seconds,
        segments=tuple(
            [hub.Segment(start=s.start, end=s.end, text=s.text) for s in answer.segments]
        ),
        words=tuple([hub.Word(start=w.start, end=w.end, text=w.text) for w in answer.words]),
    )


def _annotated(answer: Annotated_, request: hub.AnnotateRequest) -> hub.Result:
    asked = {name for name, _ in request.features}
    told = {a.feature for image in answer.images for a in image.annotations}
    _fits(answer.images, request.images, "images", whole=told <= asked)
    return hub.AnnotateResult(images=tuple([_picture(image) for image in answer.images]))


def _picture(image: Picture) -> hub.Annotated:
    if image.error is not None:
        return hub.Annotated(error=image.error.message or image.error.code or "no image")
    found = [
        hub.Annotation(feature=a.feature, text=a.text, score=a.score, box=a.box)
        for a in image.annotations
    ]
    return hub.Annotated(annotations=tuple(found), width=image.width, height=image.height)


_RESULTS: dict[str, Callable[[Any, Any], hub.Result]] = {
    "chat": _text,
    "complete": _text,
    "embed": _vectors,
    "classify": _ranked,
    "translate": _translated,
    "speak": _spoken,
    "transcribe": _transcribed,
    "annotate": _annotated,
}
