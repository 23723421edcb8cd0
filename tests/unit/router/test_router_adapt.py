"""A client's voices and encodings in those of a backend, and its answer back again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
from test_router_audio import RATE, heard, pitch, tone

from router import audio
from router.core.api import Endpoint
from router.core.call import Call
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import (
    Audio,
    Encoding,
    SpeakRequest,
    SpeakResult,
    TranscribeRequest,
    TranscribeResult,
)
from router.layers.adapt import adapt
from tests.fakes import FakeApi, a_call

VOICES = {"alloy": "amy", "nova": "joe"}


class Speaker(FakeApi):
    """A wire with some encodings, of one rate."""

    def __init__(self, speaks: set[str], reads: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__()
        self.encodings = {"speak": frozenset(speaks), "transcribe": frozenset(reads)}
        self.seen: list[Any] = []

    def service(self) -> Service:
        endpoint = Endpoint(
            "b", "http://b", "m", self, lambda: "", voices=lambda v: VOICES.get(v, v)
        )  # type: ignore[arg-type]

        async def serve(call: Call) -> Reply:
            self.seen.append(call.request)
            request = call.request
            if isinstance(request, TranscribeRequest):
                found = audio.probe(
                    request.audio,
                    encoding=request.encoding if request.encoding == "pcm_s16le" else "",
                    sample_rate_hz=request.sample_rate_hz,
                )
                result = TranscribeResult(text="hi", language="en", seconds=found.seconds)
                return Reply(backend="b", result=result)
            assert isinstance(request, SpeakRequest)
            data, rate = audio.recode(tone(1.0), heard(tone(1.0)), request.encoding)
            if call.stream:
                return Reply(backend="b", events=self._events(data, request.encoding, rate))
            made = SpeakResult(audio=data, encoding=request.encoding, sample_rate_hz=rate)
            return Reply(backend="b", result=made)

        return adapt(endpoint)(serve)

    async def _events(self, data: bytes, encoding: Encoding, rate: int) -> AsyncIterator[Audio]:
        for at in range(0, len(data), 4096):
            yield Audio(data=data[at : at + 4096], encoding=encoding, sample_rate_hz=rate)


def spoken(
    api: Speaker, *, wire: str = "other", stream: bool = False, **asked: Any
) -> tuple[bytes, int, str]:
    request = SpeakRequest(**({"text": "hi", "voice": "alloy"} | asked))

    async def run() -> tuple[bytes, int, str]:
        call = a_call(task="speak", request=request, wire=wire, stream=stream)
        reply = await api.service()(call)
        if reply.events is None:
            assert isinstance(reply.result, SpeakResult)
            return reply.result.audio, reply.result.sample_rate_hz, reply.result.encoding
        pieces = [e async for e in reply.events if isinstance(e, Audio)]
        return b"".join(p.data for p in pieces), pieces[0].sample_rate_hz, pieces[0].encoding

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("native", [{"pcm_s16le"}, {"pcm_s16le", "wav"}, {"pcm_s16le", "mp3"}])
@pytest.mark.parametrize("asked", [e for e in get_args(Encoding) if e != "mp4"])
def test_any_encoding_of_any_backend(asked: Encoding, native: set[str], stream: bool) -> None:
    api = Speaker(native)
    data, rate, encoding = spoken(api, encoding=asked, stream=stream)
    bare = asked in {"pcm_s16le", "mulaw", "alaw"}
    found = audio.probe(data, encoding=asked if bare else "", sample_rate_hz=rate)
    assert (encoding, found.encoding) == (asked, asked)
    assert found.seconds == pytest.approx(1.0, abs=0.1)
    back, _ = audio.recode(data, found, "pcm_s16le", sample_rate_hz=RATE)
    assert pitch(back) == pytest.approx(440, rel=0.05)
    assert api.seen[0].encoding in native


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "rate"), [("pcm_s16le", 16_000), ("mp3", 22_050), ("mulaw", 8_000)]
)
def test_a_rate_is_kept_across_wires(asked: Encoding, rate: int, stream: bool) -> None:
    api = Speaker({"pcm_s16le", "mp3"})
    data, got, _ = spoken(api, encoding=asked, sample_rate_hz=rate, bit_rate=32_000, stream=stream)
    assert got == rate
    bare = asked != "mp3"
    found = audio.probe(data, encoding=asked if bare else "", sample_rate_hz=rate)
    assert found.sample_rate_hz == rate
    assert found.seconds == pytest.approx(1.0, abs=0.1)


def test_its_own_wire_says_the_rate_itself() -> None:
    api = Speaker({"pcm_s16le", "mp3"})
    spoken(api, wire="fake", encoding="mp3", bit_rate=64_000)
    assert (api.seen[0].encoding, api.seen[0].bit_rate) == ("mp3", 64_000)


def test_what_fits_is_not_touched() -> None:
    api = Speaker({"mp3"})
    data, _, _ = spoken(api, encoding="mp3")
    assert data == audio.recode(tone(1.0), heard(tone(1.0)), "mp3")[0]


def test_voices_have_the_backends_names() -> None:
    api = Speaker({"mp3"})
    spoken(api, voice="nova", encoding="mp3")
    spoken(api, voice="other", encoding="mp3")
    assert [r.voice for r in api.seen] == ["joe", "other"]


@pytest.mark.parametrize("reads", [{"flac", "wav"}, {"wav"}, {"pcm_s16le"}, {"mp3"}])
@pytest.mark.parametrize("sent", ["ogg_opus", "mp4", "mulaw"])
def test_recordings_are_sent_as_the_backend_reads_them(sent: Encoding, reads: set[str]) -> None:
    data, rate = audio.recode(tone(2.0), heard(tone(2.0)), sent)
    request = TranscribeRequest(audio=data, encoding=sent, seconds=2.0, sample_rate_hz=rate)
    api = Speaker(set(), reads)
    reply = asyncio.run(api.service()(a_call(task="transcribe", request=request)))
    assert isinstance(reply.result, TranscribeResult)
    assert reply.result.seconds == pytest.approx(2.0, abs=0.1)
    assert api.seen[0].encoding in reads


def test_a_recording_that_cannot_be_read_is_the_clients_mistake() -> None:
    request = TranscribeRequest(audio=b"nonsense" * 50, encoding="odd", seconds=2.0)
    with pytest.raises(BadRequest, match="audio"):
        asyncio.run(Speaker(set(), {"wav"}).service()(a_call(task="transcribe", request=request)))
