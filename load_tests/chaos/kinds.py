"""The kinds of call: how each is asked, and what of an answer must be right.

The sandbox says the same to the same question, whichever backend is asked, so there is one right
answer to each: the one that it gives while nothing is broken. `said` is that part of an answer:
the text, the vector, the sound. An answer that ends normally and says anything else is wrong.
A stream that goes on elsewhere is right when it is the beginning of the right text, then what the
other says to being asked to go on (`GOES_ON`), and a note that says so.
"""

import base64
import json
import math
import operator
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

from msgspec import Struct

from load_tests.chaos.client import Ask, Got

VOICE = "JBFqnCBsd6RMkjVDRZzb"
TOPICS = ("harbours", "bridges", "lighthouses", "orchards", "railways", "glaciers", "markets")
QUESTIONS = len(TOPICS)
TOKENS = 20
GOES_ON = " And here somebody else goes on."
CUT_OFF = {"chats": [{"contains": "Your answer was cut off.", "says": GOES_ON}]}
"""What the sandboxes answer to being asked to go on."""
Outcome = Literal["right", "wrong", "refused", "broken", "lost"]


class Kind(Struct, frozen=True):
    """One kind of call. `said` raises when an answer is not of its shape.

    `like` is the kind whose right answers are its own; `same` compares what is said with it.
    """

    name: str
    path: str
    body: Callable[[int], Any]
    said: Callable[[bytes], Any]
    stream: bool = False
    like: str = ""
    same: Callable[[Any, Any], bool] = operator.eq

    def ask(self, number: int, deadline: float, headers: dict[str, str]) -> Ask:
        """The request for the question with this number."""
        return Ask(self.path, headers, _written(self.body, number % QUESTIONS), deadline)

    def outcome(self, got: Got, right: Any) -> Outcome:
        """How the call ended for its caller."""
        if not got.status or (got.status >= 400 and got.end != "whole"):
            return "lost"
        if got.status >= 400:
            return "refused" if _told(got.body) else "wrong"
        if got.end != "whole" or (self.stream and b'"error"' in got.body):
            return "broken"
        try:
            return "right" if self.same(self.said(got.body), right) else "wrong"
        except (ValueError, KeyError, IndexError, TypeError):
            return "wrong"


@cache
def _written(body: Callable[[int], Any], number: int) -> bytes:
    return json.dumps(body(number)).encode()


def _told(body: bytes) -> bool:
    """A refusal in the shape of some door: an object that says what is wrong."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and bool({"error", "detail", "message"} & found.keys())


def _topic(number: int) -> str:
    return TOPICS[number % QUESTIONS]


def _chat(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"Tell me about {_topic(number)}."}]
    return {"model": "chat", "messages": said, "max_tokens": TOKENS}


def _chat_said(body: bytes) -> Any:
    choice = json.loads(body)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def _stream_said(body: bytes) -> Any:
    text, finish, done = "", None, False
    for event in _events(body):
        if event == b"[DONE]":
            done = True
            continue
        for choice in json.loads(event)["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
    if not done:
        raise ValueError("it did not say that it was over")
    return text, finish


def _resumed_said(body: bytes) -> Any:
    noted = any(line.startswith(b":") and b" broke off; " in line for line in body.split(b"\n"))
    return *_stream_said(body), noted


def _resumed(found: Any, right: Any) -> bool:
    """Whether it is right, or begins rightly and goes on, marked, where it broke off."""
    text, finish, noted = found
    begun = text.removesuffix(GOES_ON)
    if not noted:
        return bool((text, finish) == right)
    return 0 < len(begun) < len(text) and right[0].startswith(begun) and finish is not None


def _events(body: bytes) -> Iterator[bytes]:
    for line in body.split(b"\n"):
        if line.startswith(b"data: "):
            yield line[6:]


def _complete(number: int) -> dict[str, Any]:
    return {"model": "complete", "prompt": f"Once, near {_topic(number)},", "max_tokens": TOKENS}


def _embed(number: int) -> dict[str, Any]:
    return {"model": "embed", "input": _topic(number), "encoding_format": "float"}


def _classify(number: int) -> dict[str, Any]:
    return {"model": "classify", "input": f"We saw {_topic(number)}.", "labels": list(TOPICS[:3])}


def _translate(number: int) -> dict[str, Any]:
    return {"text": [f"Good {_topic(number)}."], "source_lang": "EN", "target_lang": "DE"}


def _speak(number: int) -> dict[str, Any]:
    return {"text": f"All about {_topic(number)}", "model_id": "eleven_v3"}


def _transcribe(number: int) -> dict[str, Any]:
    config = {"languageCode": "en-US", "encoding": "LINEAR16", "sampleRateHertz": 16000}
    tone = [round(9000 * math.sin(at / (5 + number))) for at in range(8000)]
    sound = struct.pack(f"<{len(tone)}h", *tone)
    return {"config": config, "audio": {"content": base64.b64encode(sound).decode()}}


def _annotate(number: int) -> dict[str, Any]:
    image = base64.b64encode(_picture(number)).decode()
    features = [{"type": "LABEL_DETECTION"}]
    return {"requests": [{"image": {"content": image}, "features": features}]}


def _picture(shade: int, side: int = 16) -> bytes:
    """A PNG of one shade."""
    rows = (b"\0" + bytes((shade, 90, 200)) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


WHOLE = Kind("chat", "/v1/chat/completions", _chat, _chat_said)
STREAM = Kind(
    "chat stream",
    "/v1/chat/completions",
    lambda number: _chat(number) | {"stream": True},
    _stream_said,
    stream=True,
    like=WHOLE.name,
)
RESUMED = Kind(
    "chat stream, continued",
    "/v1/chat/completions",
    lambda number: _chat(number) | {"model": "continued", "stream": True},
    _resumed_said,
    stream=True,
    like=WHOLE.name,
    same=_resumed,
)
KEPT = Kind(
    "chat, kept",
    "/v1/chat/completions",
    lambda number: _chat(number) | {"model": "kept", "temperature": 0},
    _chat_said,
    like=WHOLE.name,
)
OTHERS = (
    Kind("complete", "/v1/completions", _complete, lambda b: json.loads(b)["choices"][0]["text"]),
    Kind("embed", "/v1/embeddings", _embed, lambda b: json.loads(b)["data"][0]["embedding"]),
    Kind(
        "classify",
        "/v1/classify",
        _classify,
        lambda b: [(r["label"], r["scores"]) for r in json.loads(b)["results"]],
    ),
    Kind(
        "translate", "/v2/translate", _translate, lambda b: json.loads(b)["translations"][0]["text"]
    ),
    Kind("speak", f"/v1/text-to-speech/{VOICE}?output_format=pcm_16000", _speak, lambda b: b),
    Kind(
        "transcribe",
        "/v1/speech:recognize",
        _transcribe,
        lambda b: json.loads(b)["results"][0]["alternatives"][0]["transcript"],
    ),
    Kind(
        "annotate",
        "/v1/images:annotate",
        _annotate,
        lambda b: json.loads(b)["responses"][0]["labelAnnotations"],
    ),
)
ALL = (STREAM, WHOLE, *OTHERS)
