"""Google Speech's wire: v1 speech:recognize and v2 recognizers/{r}:recognize, up to one minute.

Billed by the second, rounded up for each request, for each channel that is recognized; an empty
answer is billed like any other. Checked against Google's discovery document (revision 20251201) and
the protobuf types of google-cloud-speech 2.41 on 2026-11-22.
"""

import re
from math import ceil
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Struct

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.google import JSON, Google, content_of, number_of
from load_tests.sandbox.google_speech_forms import ENCODINGS, ENCODINGS_2, Recognize, Recognize2
from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.hearing import Heard, transcribe
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.media import Unreadable
from load_tests.sandbox.price import read_price
from load_tests.sandbox.vendor import Answer, Refusal, Request

ONE = "/v1/speech:recognize"
TWO = re.compile(r"^/v2/projects/[^/]+/locations/[^/]+/recognizers/[^/]+:recognize$")
DATA = Path(__file__).with_name("google_speech.yaml")
LONGEST = 60.0  # seconds
TOO_LONG = "Sync input too long. For audio longer than 1 min use LongRunningRecognize with a 'uri' parameter."  # noqa: E501
LANGUAGE = re.compile(r"^([A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*|auto)$")
BARE = {"LINEAR16": "s16le", "MULAW": "mulaw", "ALAW": "alaw"}
CODECS = {  # how FFmpeg's names of what was decoded begin
    "LINEAR16": "pcm_",
    "MULAW": "pcm_mulaw",
    "ALAW": "pcm_alaw",
    "FLAC": "flac",
    "MP3": "mp3",
    "OGG_OPUS": "opus",
    "WEBM_OPUS": "opus",
    "MP4_AAC": "aac",
    "M4A_AAC": "aac",
    "MOV_AAC": "aac",
}
SEPARATE = 1  # MultiChannelMode.SEPARATE_RECOGNITION_PER_CHANNEL
MODES = {"MULTI_CHANNEL_MODE_UNSPECIFIED": 0, "SEPARATE_RECOGNITION_PER_CHANNEL": SEPARATE}


class Asked(Struct, kw_only=True):
    """One request, of either version; `encoding` is empty when the file says what it is."""

    content: str
    uri: str
    encoding: str
    rate: int
    channels: int
    separate: bool
    language: str
    times: bool
    sureness: bool
    model: str


class GoogleSpeech(Google):
    """The vendor."""

    name = "google_speech"
    domain = "speech.googleapis.com"

    def __init__(self, keys: Keys, tokens: Tokens, answers: Answers, *, free_units: bool) -> None:
        super().__init__(keys, tokens)
        self._answers = answers
        self._price = read_price(DATA, free_units=free_units)

    def serves(self, request: Request) -> bool:
        """Its own paths."""
        return request.path == ONE or TWO.match(request.path) is not None

    def heavy(self, request: Request) -> bool:
        """Sound is decoded."""
        return True

    def answer(self, request: Request) -> Answer:
        """The answer to one call. Raises Refusal."""
        key = self.caller(request)
        if request.method != "POST":
            raise self.fault(404, None, None)
        first = request.path == ONE
        body = request.body
        asked = _one(self.read(body, Recognize)) if first else _two(self.read(body, Recognize2))
        heard = self._heard(asked)
        channels = heard.sound.channels if asked.separate else 1
        billed = ceil(heard.sound.seconds) * channels
        results = [
            _result(heard, asked, channel if asked.separate else 0, first=first)
            for channel in range(1, channels + 1)
            if heard.text
        ]
        told: dict[str, Any] = {"results": results} if results else {}
        if first:
            told |= {"totalBilledTime": f"{billed}s", "requestId": str(1 + request.number)}
        else:
            identity = f"{request.number:032x}"
            told["metadata"] = {"totalBilledDuration": f"{billed}s", "requestId": identity}
        return Answer(
            id=f"speech-{request.number:029d}",
            model=asked.model or "default",
            endpoint=ONE if first else "/v2/recognizers:recognize",
            headers=[JSON],
            body=msgspec.json.encode(told),
            price=self._price,
            key=key,
            units={"seconds": billed},
            work=ceil(heard.sound.seconds),
        )

    def _heard(self, asked: Asked) -> Heard:
        if not LANGUAGE.match(asked.language):
            raise _config("bad language code.", "config.language_code")
        if not asked.content:
            if asked.uri:
                raise self.fault(404, None, None)  # the sandbox has no storage to read from
            raise Refusal(400, "RecognitionAudio not set.", param="audio")
        data = content_of(asked.content, "audio.content")
        bare = "" if data[:4] == b"RIFF" else BARE.get(asked.encoding, "")
        if bare and not 8000 <= asked.rate <= 48000:
            raise _config("bad sample rate hertz.", "config.sample_rate_hertz")
        try:
            heard = transcribe(
                data, self._answers, bare=bare, rate=asked.rate, channels=asked.channels or 1
            )
        except Unreadable as wrong:
            raise _config("bad encoding..", "config.encoding") from wrong
        _fits(asked, heard)
        return heard


def _fits(asked: Asked, heard: Heard) -> None:
    """Raises Refusal when the file is not what the request says of it."""
    sound = heard.sound
    if asked.encoding and not sound.codec.startswith(CODECS.get(asked.encoding, "none")):
        raise _config("bad encoding..", "config.encoding")
    if asked.rate and asked.rate != sound.rate and sound.codec != "opus":
        said = f"sample_rate_hertz ({asked.rate}) in RecognitionConfig must either be unspecified or match the value in the audio header ({sound.rate})."  # noqa: E501
        raise Refusal(400, said, param="config.sample_rate_hertz")
    if (asked.channels or 1) != sound.channels:
        said = f"Invalid audio channel count: {asked.channels or 1} in the request, {sound.channels} in the audio."  # noqa: E501
        raise Refusal(400, said, param="config.audio_channel_count")
    if sound.seconds > LONGEST:
        raise Refusal(400, TOO_LONG)


def _one(given: Recognize) -> Asked:
    if given.config is None:
        raise Refusal(400, "RecognitionConfig not set.", param="config")
    config = given.config
    number = number_of(config.encoding, ENCODINGS, "config.encoding")
    names = {known: name for name, known in ENCODINGS.items()}
    if number not in names:
        raise _config("bad encoding..", "config.encoding")
    return Asked(
        content=given.audio.content,
        uri=given.audio.uri,
        encoding=names[number] if number else "",
        rate=config.sample_rate_hertz,
        channels=config.audio_channel_count,
        separate=config.enable_separate_recognition_per_channel,
        language=config.language_code,
        times=config.enable_word_time_offsets,
        sureness=config.enable_word_confidence,
        model=config.model,
    )


def _two(given: Recognize2) -> Asked:
    config = given.config
    explicit = config.explicit_decoding_config
    if explicit is None and config.auto_decoding_config is None:
        raise _config("decoding config is not set.", "config.decoding_config")
    number = number_of(explicit.encoding, ENCODINGS_2, "config.encoding") if explicit else 0
    names = {known: name for name, known in ENCODINGS_2.items()}
    if number not in names:
        raise _config("bad encoding..", "config.encoding")
    mode = number_of(config.features.multi_channel_mode, MODES, "config.features")
    return Asked(
        content=given.content,
        uri=given.uri,
        encoding=names[number] if number else "",
        rate=explicit.sample_rate_hertz if explicit else 0,
        channels=explicit.audio_channel_count if explicit else 0,
        separate=mode == SEPARATE,
        language=(config.language_codes or [""])[0],
        times=config.features.enable_word_time_offsets,
        sureness=config.features.enable_word_confidence,
        model=config.model,
    )


def _result(heard: Heard, asked: Asked, channel: int, *, first: bool) -> dict[str, Any]:
    start, end, last = (
        ("startTime", "endTime", "resultEndTime")
        if first
        else ("startOffset", "endOffset", "resultEndOffset")
    )
    sure = 0.9 + crc32(heard.text.encode()) % 900 / 10000
    alternative: dict[str, Any] = {"transcript": heard.text, "confidence": sure}
    if asked.times or asked.sureness:
        alternative["words"] = [
            {
                **({start: _time(one.start), end: _time(one.end)} if asked.times else {}),
                "word": one.text,
                **({"confidence": sure} if asked.sureness else {}),
            }
            for one in heard.words()
        ]
    language = asked.language if asked.language != "auto" else heard.language
    result = {
        "alternatives": [alternative],
        last: _time(heard.sound.seconds),
        "languageCode": language.lower() if first else language,
    }
    return result | ({"channelTag": channel} if channel else {})


def _time(seconds: float) -> str:
    return f"{seconds:.3f}s"


def _config(what: str, where: str) -> Refusal:
    return Refusal(400, f"Invalid recognition 'config': {what}", param=where)
