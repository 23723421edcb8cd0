"""What is asked: every kind of call on every wire, as path, headers and body. Pure but for chance.

A kind knows what its right answer holds, what ends its stream, and the shape of its wire's errors,
so that an answer of status 200 that is none, or an error that a vendor's SDK could not read, is
counted as a failure.
"""

import base64
import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

from load_tests.profile import Profile

Wire = Literal["openai", "elevenlabs", "deepl", "google", "torchserve"]
Body = Callable[["Words"], Any]
VOICE = "JBFqnCBsd6RMkjVDRZzb"
EDGE = "isocost-load-edge"
SHAPES: dict[str, set[str]] = {  # what an error must tell; of two wires inside of `error`
    "openai": {"message", "type", "code"},
    "google": {"message", "status", "code"},
    "elevenlabs": {"detail"},
    "deepl": {"message"},
    "torchserve": {"code", "type", "message"},
}
QUESTIONS = (
    "What is a circuit breaker good for in {}?",
    "Explain in two sentences why caches of {} grow stale.",
    "Name three causes of a slow {}.",
    "How does a queue protect {} under load?",
    "Give a short plan for a talk about {}.",
    "Why does {} fail on Mondays?",
)
TOPICS = (
    *("a web shop", "a bakery", "a train station", "a database", "a hospital", "a harbour"),
    *("a power plant", "a school", "a newspaper", "a theatre", "an airport", "a library"),
)
MORE = "It was built in parts, by many hands, and each part remembers the haste of its week."
LABELS = ["technology", "cooking", "travel"]


class Kind(Struct, frozen=True):
    """One kind of call, `name` in reports.

    `holds`: what a whole answer holds; `ends`: the lines that end a whole stream; `sound`: a stream
    of bare bytes, whole when its framing is.
    """

    name: str
    wire: Wire
    path: str
    route: str
    body: Body
    holds: bytes = b""
    ends: tuple[bytes, ...] = ()
    sound: bool = False
    form: bool = False

    @property
    def streams(self) -> bool:
        """True when it has a first event."""
        return bool(self.ends) or self.sound


class Words(Struct):
    """Texts and routes for bodies, from one source of chance."""

    profile: Profile
    environment: Mapping[str, str]
    chance: random.Random

    def question(self) -> str:
        """A question, now and then behind a long text."""
        text = self.chance.choice(QUESTIONS).format(self.chance.choice(TOPICS))
        if self.chance.random() < self.profile.long_share:
            text = " ".join([MORE] * self.chance.randint(5, 40)) + " " + text
        return text

    def route(self, name: str) -> str:
        """The model name of a route."""
        return self.profile.route(name, self.environment)

    @property
    def most(self) -> int:
        """Tokens that a text may take."""
        return self.profile.max_tokens


def headers(kind: Kind, words: Words, key: str) -> dict[str, str]:
    """The key where the wire's SDK puts it, and the route where the wire has no place for it."""
    named = {
        "elevenlabs": {"xi-api-key": key},
        "deepl": {"authorization": f"DeepL-Auth-Key {key}"},
        "google": {"x-goog-api-key": key},
    }.get(kind.wire, {"authorization": f"Bearer {key}"})
    if kind.wire in ("elevenlabs", "deepl", "google"):
        named["x-isocost-route"] = words.route(kind.route)
    named["content-type"] = (
        f"multipart/form-data; boundary={EDGE}" if kind.form else "application/json"
    )
    return named


def path(kind: Kind, words: Words) -> str:
    """Its path; TorchServe's names the route."""
    return kind.path.format(route=words.route(kind.route))


def body(kind: Kind, words: Words) -> bytes:
    """The bytes to send."""
    made = kind.body(words)
    return made if isinstance(made, bytes) else json.dumps(made).encode()


def shaped(wire: Wire, answer: bytes) -> bool:
    """True when an error has the shape that the wire's SDK reads."""
    try:
        told = json.loads(answer)
    except ValueError:
        return False
    if not isinstance(told, dict):
        return False
    fields = SHAPES[wire]
    error = told.get("error") if wire in ("openai", "google") else told
    return isinstance(error, dict) and fields <= set(error)


def picture(side: int = 32) -> bytes:
    """A PNG of one colour."""
    row = b"\0" + bytes((200, 30, 10)) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(row * side)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def recording(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """A WAV file of a quiet tone: 16 bit, one channel."""
    count = int(seconds * rate)
    tone = (int(6000 * math.sin(2 * math.pi * 440 * at / rate)) for at in range(count))
    data = struct.pack(f"<{count}h", *tone)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1,
                       rate, rate * 2, 2, 16)  # fmt: skip
    return head + struct.pack("<4sI", b"data", len(data)) + data


PICTURE = base64.b64encode(picture()).decode()
RECORDING = recording()
SOUND = base64.b64encode(RECORDING).decode()


def _chat(words: Words, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": words.question()}
    return {
        "model": words.route("assistant"), "messages": [message], "max_tokens": words.most, **more
    }  # fmt: skip


def _complete(words: Words, **more: Any) -> dict[str, Any]:
    asked = {"model": words.route("writer"), "prompt": words.question()}
    return {**asked, "max_tokens": words.most, **more}


def _respond(words: Words, **more: Any) -> dict[str, Any]:
    asked = {"model": words.route("assistant"), "input": words.question(), "store": False}
    return {**asked, "max_output_tokens": max(words.most, 16), **more}


def _say(words: Words, **more: Any) -> dict[str, Any]:
    return {"model": words.route("voice"), "input": words.question(), "voice": "alloy", **more}


def _sing(words: Words) -> dict[str, Any]:
    return {"text": words.question(), "model_id": "eleven_flash_v2_5"}


def _form(words: Words) -> bytes:
    edge = f"--{EDGE}\r\n".encode()
    field = b'content-disposition: form-data; name="model"\r\n\r\n'
    file = (
        b'content-disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"content-type: audio/wav\r\n\r\n"
    )
    model = words.route("transcriber").encode()
    language = b'content-disposition: form-data; name="language"\r\n\r\nen'
    parts = (field + model, language, file + RECORDING)
    return b"".join(edge + part + b"\r\n" for part in parts) + f"--{EDGE}--\r\n".encode()


def _see(words: Words) -> dict[str, Any]:
    features = [{"type": "LABEL_DETECTION", "maxResults": 5}, {"type": "TEXT_DETECTION"}]
    return {"requests": [{"image": {"content": PICTURE}, "features": features}]}


def _hear(words: Words) -> dict[str, Any]:
    config = {"encoding": "LINEAR16", "sampleRateHertz": 16000, "languageCode": "en-US"}
    return {"config": config, "audio": {"content": SOUND}}


def _embed(words: Words) -> dict[str, Any]:
    return {"model": words.route("embeddings"), "input": words.question()}


def _classify(words: Words) -> dict[str, Any]:
    return {"model": words.route("classifier"), "input": words.question(), "labels": LABELS}


def _translate(words: Words) -> dict[str, Any]:
    return {"text": ["The second of May"], "source_lang": "EN", "target_lang": "DE"}


def _predict(words: Words) -> dict[str, Any]:
    message = {"role": "user", "content": words.question()}
    return {"task": "chat", "messages": [message], "max_tokens": words.most}


def _streamed(made: Callable[..., dict[str, Any]], **more: Any) -> Body:
    return lambda words: made(words, stream=True, **more)


CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
SPEECH, TO_SPEECH = "/v1/audio/speech", f"/v1/text-to-speech/{VOICE}"
END = (b"data: [DONE]",)
KINDS = {
    "Chat": Kind("chat", "openai", CHAT, "assistant", _chat, b'"choices"'),
    "ChatStream": Kind(
        "chat stream", "openai", CHAT, "assistant", _streamed(_chat), ends=END
    ),
    "Complete": Kind("complete", "openai", COMPLETIONS, "writer", _complete, b'"choices"'),
    "CompleteStream": Kind(
        "complete stream", "openai", COMPLETIONS, "writer", _streamed(_complete), ends=END
    ),
    "Embed": Kind("embed", "openai", "/v1/embeddings", "embeddings", _embed, b'"embedding"'),
    "Respond": Kind("respond", "openai", RESPONSES, "assistant", _respond, b'"output"'),
    "RespondStream": Kind(
        "respond stream", "openai", RESPONSES, "assistant", _streamed(_respond),
        ends=(b"event: response.completed", b"event: response.incomplete"),
    ),
    "Classify": Kind("classify", "openai", "/v1/classify", "classifier", _classify, b'"scores"'),
    "Speak": Kind("speak", "openai", SPEECH, "voice", _say),
    "SpeakStream": Kind(
        "speak stream", "openai", SPEECH, "voice", lambda w: _say(w, stream_format="audio"),
        sound=True,
    ),
    "ElevenLabs": Kind("elevenlabs", "elevenlabs", TO_SPEECH, "voice", _sing),
    "ElevenLabsStream": Kind(
        "elevenlabs stream", "elevenlabs", f"{TO_SPEECH}/stream", "voice", _sing, sound=True
    ),
    "DeepL": Kind("deepl", "deepl", "/v2/translate", "translator", _translate, b'"translations"'),
    "Vision": Kind("vision", "google", "/v1/images:annotate", "eyes", _see, b'"responses"'),
    "Speech": Kind("speech", "google", "/v1/speech:recognize", "transcriber", _hear, b"{"),
    "Transcribe": Kind(
        "transcribe", "openai", "/v1/audio/transcriptions", "transcriber", _form, b'"text"',
        form=True,
    ),
    "Predict": Kind(
        "predict", "torchserve", "/predictions/{route}", "assistant", _predict, b'"text"'
    ),
}  # fmt: skip
