"""The hub: one request and one result type per task, between all wire formats.

Every file of `router/apis` translates between its own wire and these types, never wire to
wire. What a wire carries beyond them travels in `Call.fields`, named in `Call.extras`, and
reaches only a backend of the same wire.

Units of billing: chat, complete, embed, classify - tokens; translate, speak - characters
(code points); transcribe - seconds of audio; annotate - image x feature.

Encodings of audio, everywhere: `mp3 wav flac ogg_opus webm_opus aac mp4` name a container with its
usual codec, `pcm_s16le mulaw alaw` bare samples, which need a sample rate beside them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Task = Literal[
    "chat", "complete", "embed", "classify", "translate", "speak", "transcribe", "annotate"
]
Encoding = Literal[
    "mp3",
    "wav",
    "flac",
    "ogg_opus",
    "webm_opus",
    "aac",
    "mp4",
    "pcm_s16le",
    "mulaw",
    "alaw",
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
    """As the client named it; each backend maps it to one of its own (`voices`)."""
    encoding: Encoding = "mp3"
    sample_rate_hz: int | None = None
    """None leaves it to the backend."""
    bit_rate: int | None = None
    """Bits per second, of encodings that are compressed with loss."""
    speed: float = 1.0
    language: str | None = None


class SpeakResult(_Hub, frozen=True, kw_only=True):
    audio: bytes
    encoding: Encoding
    sample_rate_hz: int


class TranscribeRequest(_Hub, frozen=True, kw_only=True):
    audio: bytes
    encoding: str
    """What the door found it to be: one of `Encoding`."""
    seconds: float
    """Decoded duration."""
    language: str | None = None
    sample_rate_hz: int | None = None
    channels: int = 1
    timestamps: Literal["none", "segment", "word"] = "none"
    """Times of words come with those of segments."""
    prompt: str = ""
    """Words that are likely to be said."""
    temperature: float | None = None


class Segment(_Hub, frozen=True, kw_only=True):
    """A stretch of speech; times in seconds from the start of the audio."""

    start: float
    end: float
    text: str


class Word(_Hub, frozen=True, kw_only=True):
    """One word and when it is said; times in seconds."""

    start: float
    end: float
    text: str
    score: float | None = None


class TranscribeResult(_Hub, frozen=True, kw_only=True):
    """What was said. Segments and words are there when they were asked for."""

    text: str
    language: str | None
    """BCP 47; None when the backend does not say."""
    seconds: float
    """Duration of the audio."""
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()
    score: float | None = None
    """Confidence in 0..1; None when the backend does not say."""


class AnnotateRequest(_Hub, frozen=True, kw_only=True):
    """Each image is asked for each feature: its name, and how many findings at most (0: any).

    Features: `labels text document faces objects safe_search landmarks logos properties crops web`;
    `text` is sparse text, `document` dense text.
    """

    images: tuple[bytes, ...]
    features: tuple[tuple[str, int], ...]


class Annotation(_Hub, frozen=True, kw_only=True):
    """One finding; box is x, y, width, height in pixels, None for the whole image."""

    feature: str
    text: str
    score: float | None = None
    box: tuple[int, int, int, int] | None = None


class Annotated(_Hub, frozen=True, kw_only=True):
    """The findings in one image, which is `width` x `height` pixels, or why there are none."""

    annotations: tuple[Annotation, ...] = ()
    width: int = 0
    height: int = 0
    error: str = ""


class AnnotateResult(_Hub, frozen=True, kw_only=True):
    images: tuple[Annotated, ...]


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


class Audio(_Hub, frozen=True, kw_only=True):
    """A piece of streamed speech, in the encoding that was asked for."""

    data: bytes
    encoding: Encoding
    sample_rate_hz: int


class Note(_Hub, frozen=True, kw_only=True):
    """What the router itself says in a stream, where the wire has a place for it."""

    text: str


Event = Delta | Finish | Audio | Note
