"""Text to speech on OpenAI's wire: POST /v1/audio/speech.

tts-1 and tts-1-hd are billed by the character; gpt-4o-mini-tts by the tokens of its text and of the
sound that it makes, 1250 a minute (the price page's 0.015 USD a minute at 12 USD a million).
Without `stream_format` the body comes whole; with it in pieces: of sound, or events around them.
"""

from base64 import b64encode
from math import ceil

import msgspec

from load_tests.sandbox.media import RATE, Form, write
from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_forms import SpeechRequest
from load_tests.sandbox.tokens import count
from load_tests.sandbox.tones import say, seconds_of
from load_tests.sandbox.vendor import Answer, Event, Headers, Refusal, Request

ENCODE = msgspec.json.Encoder().encode
SSE = "text/event-stream; charset=utf-8"
MOST_CHARACTERS, MOST_TOKENS = 4096, 2000
TOKENS_A_MINUTE = 1250
PIECE = 4096  # bytes of sound in one event
SPEECH_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx"),
    *("sage", "shimmer", "verse"),
)
FORMS = {
    "mp3": Form("mp3", "libmp3lame", RATE, 64000, "audio/mpeg"),
    "opus": Form("ogg", "libopus", 48000, 32000, "audio/ogg"),
    "aac": Form("adts", "aac", RATE, 64000, "audio/aac"),
    "flac": Form("flac", "flac", RATE, 0, "audio/flac"),
    "wav": Form("wav", "pcm_s16le", RATE, 0, "audio/wav"),
    "pcm": Form("s16le", "pcm_s16le", RATE, 0, "audio/pcm"),
}


class Speech:
    """POST /v1/audio/speech."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(SpeechRequest)

    def read(self, request: Request) -> SpeechRequest:
        """Raises msgspec.DecodeError."""
        return self._decoder.decode(request.body)

    def answer(
        self, asked: SpeechRequest, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """The text as sound. Raises Refusal."""
        by_token = "audio_output" in model.price.rates
        _check(asked, by_token=by_token)
        form = FORMS[asked.response_format or "mp3"]
        speed = 1.0 if asked.speed is None else asked.speed
        audio = write(say(asked.input, speed), form)
        seconds = seconds_of(asked.input, speed)
        if by_token:
            read = count(asked.input) + count(asked.instructions or "")
            units = {"input": read, "audio_output": ceil(seconds * TOKENS_A_MINUTE / 60)}
        else:
            units = {"characters": len(asked.input)}
        events = None
        if asked.stream_format is not None:
            events = _events(audio, units, sse=asked.stream_format == "sse")
        kind = SSE if asked.stream_format == "sse" else form.content_type
        return Answer(
            id=f"speech-{request.number:029d}",
            model=model.name,
            endpoint="/v1/audio/speech",
            headers=[(b"content-type", kind.encode()), *headers],
            body=b"" if events is not None else audio,
            events=events,
            price=model.price,
            key=key,
            units=units,
            grows="audio_output",
            work=ceil(seconds * 10),
        )


def _check(asked: SpeechRequest, *, by_token: bool) -> None:
    if not asked.input:
        raise _wrong("input", "Invalid 'input': string too short. Expected at least 1 character.")
    if len(asked.input) > MOST_CHARACTERS:
        said = f"Invalid 'input': string too long. Expected a string with maximum length {MOST_CHARACTERS}, but got a string with length {len(asked.input)} instead."  # noqa: E501
        raise Refusal(400, said, param="input", code="string_above_max_length")
    if by_token and count(asked.input) > MOST_TOKENS:
        raise _wrong("input", f"The input has more than {MOST_TOKENS} tokens.")
    if isinstance(asked.voice, str) and asked.voice not in SPEECH_VOICES:
        known = ", ".join(sorted(SPEECH_VOICES))
        raise _wrong("voice", f"Invalid value: '{asked.voice}'. Supported values are: {known}.")
    if (asked.response_format or "mp3") not in FORMS:
        said = (
            f"Invalid value: '{asked.response_format}'. Supported values are: {', '.join(FORMS)}."
        )
        raise _wrong("response_format", said)
    if asked.speed is not None and not 0.25 <= asked.speed <= 4.0:
        raise _wrong("speed", "Invalid 'speed': expected a value between 0.25 and 4.0.")
    if asked.stream_format not in (None, "audio", "sse"):
        raise _wrong("stream_format", f"Invalid value: '{asked.stream_format}'.")
    if asked.stream_format == "sse" and not by_token:
        raise _wrong("stream_format", "'sse' is not supported by this model.")


def _wrong(param: str, message: str) -> Refusal:
    return Refusal(400, message, param=param, code="invalid_value")


def _events(audio: bytes, units: dict[str, int], *, sse: bool) -> list[Event]:
    made = units.get("audio_output", 0)
    events: list[Event] = []
    for start in range(0, len(audio), PIECE):
        piece = audio[start : start + PIECE]
        so_far = min(made, ceil(made * (start + len(piece)) / len(audio)))
        if sse:
            said = {"type": "speech.audio.delta", "audio": b64encode(piece).decode()}
            piece = b"data: " + ENCODE(said) + b"\n\n"
        events.append(Event(piece, so_far))
    if sse:
        read = units.get("input", 0)
        usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
        done = ENCODE({"type": "speech.audio.done", "usage": usage})
        events.append(Event(b"data: " + done + b"\n\n", made))
    return events
