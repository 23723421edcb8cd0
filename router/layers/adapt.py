"""What a client asked for in what a backend can do: voices by their names, audio in its encodings.

A backend is asked for the encoding that the client wants where it has it. Where it has not, or
where a rate was asked for that only the client's own wire can say, it is asked for one without
loss, and its answer is recoded. Recordings that a backend does not read are recoded before they
are sent.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from msgspec.structs import replace

from router import audio
from router.core.api import Endpoint
from router.core.call import Call
from router.core.errors import AttemptFailed, BadRequest, BrokenStream
from router.core.reply import Reply
from router.core.service import Layer, Service
from router.core.task import (
    Audio,
    Encoding,
    Event,
    SpeakRequest,
    SpeakResult,
    TranscribeRequest,
)
from router.core.verdict import LOST

BARE: Encoding = "pcm_s16le"
_SPOKEN: tuple[Encoding, ...] = (BARE, "wav", "flac", "mp3", "aac")
"""What is best recoded, first the one that needs no decoding."""
_READ: tuple[Encoding, ...] = ("flac", "wav", BARE, "mp3")
"""What a recording is best sent as: small without loss first."""


def adapt(endpoint: Endpoint) -> Layer:
    """Calls in the words of one backend, its answers in those of the client."""

    def layer(inner: Service) -> Service:
        async def adapted(call: Call) -> Reply:
            request = call.request
            if isinstance(request, SpeakRequest):
                return await _speak(endpoint, inner, call, request)
            if isinstance(request, TranscribeRequest):
                call = await _readable(endpoint, call, request)
            return await inner(call)

        return adapted

    return layer


async def _readable(endpoint: Endpoint, call: Call, request: TranscribeRequest) -> Call:
    """The call with its recording in an encoding that the backend reads."""
    known = endpoint.api.encodings["transcribe"]
    if request.encoding in known:
        return call
    to = _first(_READ, known)
    heard = audio.Heard(
        request.encoding, request.seconds, request.sample_rate_hz or 0, request.channels
    )
    try:
        data, rate = await to_thread(audio.recode, request.audio, heard, to)
    except audio.Unreadable as exc:
        raise BadRequest(f"The audio: {exc}", code="invalid_audio") from exc
    return replace(call, request=replace(request, audio=data, encoding=to, sample_rate_hz=rate))


async def _speak(endpoint: Endpoint, inner: Service, call: Call, request: SpeakRequest) -> Reply:
    known = endpoint.api.encodings["speak"]
    exact = request.sample_rate_hz is not None or request.bit_rate is not None
    own = call.wire == endpoint.api.name
    kept = request.encoding in known and (own or not exact or request.encoding == BARE)
    to = request.encoding if kept else BARE if call.stream else _first(_SPOKEN, known)
    asked = replace(request, voice=endpoint.voices(request.voice), encoding=to)
    if not kept:
        asked = replace(asked, bit_rate=None)
    reply = await inner(replace(call, request=asked))
    if reply.events is not None:
        reply.events = _recoded(reply.events, request)
    elif isinstance(reply.result, SpeakResult):
        reply.result = await _whole(endpoint.name, reply.result, request)
    return reply


async def _whole(name: str, result: SpeakResult, request: SpeakRequest) -> SpeakResult:
    rate = request.sample_rate_hz
    if result.encoding == request.encoding and rate in {None, result.sample_rate_hz}:
        return result
    try:
        data, made = await to_thread(_recode, result, request)
    except audio.Unreadable as exc:
        raise AttemptFailed(name, LOST, f"its audio: {exc}") from exc
    return SpeakResult(audio=data, encoding=request.encoding, sample_rate_hz=made)


def _recode(result: SpeakResult, request: SpeakRequest) -> tuple[bytes, int]:
    heard = audio.probe(
        result.audio, encoding=result.encoding, sample_rate_hz=result.sample_rate_hz
    )
    return audio.recode(
        result.audio,
        heard,
        request.encoding,
        sample_rate_hz=request.sample_rate_hz,
        bit_rate=request.bit_rate,
    )


async def _recoded(
    events: AsyncIterator[bytes | Event], request: SpeakRequest
) -> AsyncIterator[bytes | Event]:
    recoder: audio.Recoder | None = None
    # Closed with this one: what was used is noted when the inner one ends.
    async with aclosing(events) as inner:  # type: ignore[type-var]
        async for event in inner:
            if not isinstance(event, Audio):
                yield event
                continue
            fits = request.sample_rate_hz in {None, event.sample_rate_hz}
            if recoder is None and event.encoding == request.encoding and fits:
                yield event
                continue
            recoder = recoder or _recoder(event, request)
            if data := recoder.feed(event.data):
                yield _piece(data, request, recoder)
    if recoder is not None:
        yield _piece(recoder.finish(), request, recoder)


def _recoder(first: Audio, request: SpeakRequest) -> audio.Recoder:
    if first.encoding != BARE:
        raise BrokenStream(f"a stream of {first.encoding} cannot be recoded")
    return audio.Recoder(
        first.sample_rate_hz,
        request.encoding,
        sample_rate_hz=request.sample_rate_hz,
        bit_rate=request.bit_rate,
    )


def _piece(data: bytes, request: SpeakRequest, recoder: audio.Recoder) -> Audio:
    return Audio(data=data, encoding=request.encoding, sample_rate_hz=recoder.sample_rate_hz)


def _first(wanted: Iterable[Encoding], known: frozenset[str]) -> Encoding:
    return next(encoding for encoding in wanted if encoding in known)
