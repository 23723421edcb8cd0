"""The hub: one request and one result type per task, between all wire formats.

Every file of `router/apis` translates between its own wire and these types, never wire to
wire. What a wire carries beyond them travels in `Call.fields`, named in `Call.extras`, and
reaches only a backend of the same wire.

Units of billing: chat, complete, embed, classify - tokens; translate, speak - characters
(code points); transcribe - seconds of audio; annotate - image x feature.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Task = Literal[
    "chat", "complete", "embed", "classify", "translate", "speak", "transcribe", "annotate"
]
TASKS: tuple[Task, ...] = (
    "chat",
    "complete",
    "embed",
    "classify",
    "translate",
    "speak",
    "transcribe",
    "annotate",
)


class _Hub(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Sampling(_Hub, frozen=True, kw_only=True):
    """How text is generated. None leaves the choice to the backend."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    usage_wanted: bool = False
    """The client asked to see usage in its stream."""


class Message(_Hub, frozen=True, kw_only=True):
    """One turn. `plain` is False when it holds more than text (images, tool calls)."""

    role: str
    text: str
    plain: bool = True


class ChatRequest(Sampling, frozen=True, kw_only=True):
    messages: tuple[Message, ...]


class CompleteRequest(Sampling, frozen=True, kw_only=True):
    prompts: tuple[str, ...]
    best_of: int = 1
    """Texts that are made of each prompt, to return the best `n` of them."""


class TextResult(_Hub, frozen=True, kw_only=True):
    """Result of chat and complete: one text per choice, with why each ended."""

    texts: tuple[str, ...]
    finish: tuple[str, ...]


class Delta(_Hub, frozen=True, kw_only=True):
    """A piece of a streamed text."""

    text: str


class Finish(_Hub, frozen=True, kw_only=True):
    """The end of a streamed text: "stop" or "length"."""

    reason: str


class EmbedRequest(_Hub, frozen=True, kw_only=True):
    texts: tuple[str, ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"


class EmbedResult(_Hub, frozen=True, kw_only=True):
    """Vectors as base64 of little-endian float32, in the order of the texts."""

    vectors: tuple[str, ...]
    dimensions: int


class ClassifyRequest(_Hub, frozen=True, kw_only=True):
    texts: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    """None: the labels that the model was trained on."""
    multi_label: bool = False


class Ranking(_Hub, frozen=True, kw_only=True):
    """Labels of one text, best first; scores in 0..1, adding up to 1 unless multi_label."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]


class ClassifyResult(_Hub, frozen=True, kw_only=True):
    rankings: tuple[Ranking, ...]


class TranslateRequest(_Hub, frozen=True, kw_only=True):
    """Languages are BCP 47 tags; source None is to be detected."""

    texts: tuple[str, ...]
    target: str
    source: str | None = None
    formality: Literal["default", "more", "less"] = "default"


class TranslateResult(_Hub, frozen=True, kw_only=True):
    texts: tuple[str, ...]
    detected: tuple[str | None, ...]


class SpeakRequest(_Hub, frozen=True, kw_only=True):
    text: str
    voice: str
    encoding: Literal["mp3", "wav", "flac", "opus", "pcm_s16le"] = "mp3"
    sample_rate_hz: int | None = None
    speed: float = 1.0


class SpeakResult(_Hub, frozen=True, kw_only=True):
    audio: bytes
    encoding: str
    sample_rate_hz: int


class TranscribeRequest(_Hub, frozen=True, kw_only=True):
    audio: bytes
    encoding: str
    """Container or codec as the client named it, "" when it is to be read from the bytes."""
    language: str | None = None
    sample_rate_hz: int | None = None
    channels: int = 1
    timestamps: Literal["none", "segment", "word"] = "none"


class Segment(_Hub, frozen=True, kw_only=True):
    """A stretch of speech; times in seconds from the start of the audio."""

    start: float
    end: float
    text: str


class TranscribeResult(_Hub, frozen=True, kw_only=True):
    text: str
    language: str | None
    seconds: float
    segments: tuple[Segment, ...] = ()


class AnnotateRequest(_Hub, frozen=True, kw_only=True):
    """Each image is asked for each feature ("labels", "text", "faces", "objects", ...)."""

    images: tuple[bytes, ...]
    features: tuple[tuple[str, int], ...]


class Annotation(_Hub, frozen=True, kw_only=True):
    """One finding; box is x, y, width, height in pixels, None for the whole image."""

    feature: str
    text: str
    score: float | None = None
    box: tuple[int, int, int, int] | None = None


class AnnotateResult(_Hub, frozen=True, kw_only=True):
    images: tuple[tuple[Annotation, ...], ...]


Request = (
    ChatRequest
    | CompleteRequest
    | EmbedRequest
    | ClassifyRequest
    | TranslateRequest
    | SpeakRequest
    | TranscribeRequest
    | AnnotateRequest
)
Result = (
    TextResult
    | EmbedResult
    | ClassifyResult
    | TranslateResult
    | SpeakResult
    | TranscribeResult
    | AnnotateResult
)
Event = Delta | Finish
