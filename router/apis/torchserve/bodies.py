"""The bodies of `docs/decisions/0001` as clients send them, and the hub requests they become."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from router import audio
from router.core import task as hub
from router.core.errors import BadRequest

MAX_TOKENS = 256
"""Where a body leaves it out, as our handlers have it."""

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Texts = Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1, max_length=2048)]
_Language = Annotated[str, msgspec.Meta(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")]
_Rate = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
_Most = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class Body(msgspec.Struct, forbid_unknown_fields=True, tag_field="task", kw_only=True):
    """One request; its tag is the hub's name of the task."""

    @property
    def task(self) -> hub.Task:
        tag: hub.Task = self.__struct_config__.tag  # type: ignore[assignment]
        return tag

    def request(self) -> hub.Request:
        """The hub's request. Raises BadRequest."""
        raise NotImplementedError

    def texts_read(self) -> tuple[str, ...]:
        """What a model will read."""
        return ()


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    role: _Text
    content: str


class _Sampled(Body, kw_only=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    stop: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=16)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool = False

    def sampling(self) -> dict[str, Any]:
        return {
            "max_tokens": self.max_tokens or MAX_TOKENS,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": self.stop or (),
            "seed": self.seed,
            "usage_wanted": True,
        }


class _Chat(_Sampled, tag="chat", kw_only=True):
    messages: Annotated[tuple[_Turn, ...], msgspec.Meta(min_length=1)]

    def request(self) -> hub.Request:
        turns = tuple([hub.Message(role=t.role, text=t.content) for t in self.messages])
        return hub.ChatRequest(messages=turns, **self.sampling())

    def texts_read(self) -> tuple[str, ...]:
        return tuple([t.content for t in self.messages])


class _Complete(_Sampled, tag="complete", kw_only=True):
    prompt: _Text

    def request(self) -> hub.Request:
        return hub.CompleteRequest(prompts=(self.prompt,), **self.sampling())

    def texts_read(self) -> tuple[str, ...]:
        return (self.prompt,)


class _OfTexts(Body, kw_only=True):
    texts: _Texts

    def texts_read(self) -> tuple[str, ...]:
        return self.texts


class _Embed(_OfTexts, tag="embed", kw_only=True):
    def request(self) -> hub.Request:
        return hub.EmbedRequest(texts=self.texts, encoding="base64")


class _Classify(_OfTexts, tag="classify", kw_only=True):
    labels: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=2)] | None = None
    multi_label: bool = False

    def request(self) -> hub.Request:
        labels = self.labels
        if labels is not None and len(set(labels)) != len(labels):
            raise BadRequest(
                "Two of the `labels` are the same: send different ones.", param="labels"
            )
        return hub.ClassifyRequest(texts=self.texts, labels=labels, multi_label=self.multi_label)

    def texts_read(self) -> tuple[str, ...]:
        return (*self.texts, *(self.labels or ()))


class _Translate(_OfTexts, tag="translate", kw_only=True):
    target: _Language
    source: _Language | None = None
    formality: Literal["default", "more", "less"] = "default"

    def request(self) -> hub.Request:
        return hub.TranslateRequest(
            texts=self.texts, target=self.target, source=self.source, formality=self.formality
        )


class _Speak(Body, tag="speak", kw_only=True):
    text: _Text
    voice: _Text | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    encoding: Literal["wav", "pcm_s16le"] = "wav"
    stream: bool = False

    def request(self) -> hub.Request:
        return hub.SpeakRequest(
            text=self.text,
            voice=self.voice or "",
            speed=self.speed,
            # A stream of this wire is always of bare samples.
            encoding="pcm_s16le" if self.stream else self.encoding,
        )

    def texts_read(self) -> tuple[str, ...]:
        return (self.text,)


class Transcribe(Body, tag="transcribe", kw_only=True):
    """A recording; `encoding` "" is in a container that says what it is."""

    audio: bytes
    encoding: Literal["", "pcm_s16le"] = ""
    sample_rate_hz: _Rate | None = None
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    language: _Language | None = None
    timestamps: Literal["none", "segment", "word"] = "none"

    def request(self) -> hub.Request:
        try:
            heard = audio.probe(
                self.audio,
                encoding=self.encoding,
                sample_rate_hz=self.sample_rate_hz,
                channels=self.channels,
            )
        except audio.Unreadable as exc:
            raise BadRequest(f"`audio`: {exc}", param="audio", code="invalid_audio") from exc
        return hub.TranscribeRequest(
            audio=self.audio,
            encoding=heard.encoding,
            seconds=heard.seconds,
            language=self.language,
            sample_rate_hz=heard.sample_rate_hz,
            channels=heard.channels,
            timestamps=self.timestamps,
        )


class Annotate(Body, tag="annotate", kw_only=True):
    """Images, and what is to be found in each."""

    images: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=64)]
    features: Annotated[tuple[tuple[_Text, _Most], ...], msgspec.Meta(min_length=1)]

    def request(self) -> hub.Request:
        if not all(self.images):
            raise BadRequest("One of the `images` is empty: send its bytes.", param="images")
        if len({name for name, _ in self.features}) != len(self.features):
            raise BadRequest("A feature is asked for twice: name each once.", param="features")
        return hub.AnnotateRequest(images=self.images, features=self.features)


Bodies = _Chat | _Complete | _Embed | _Classify | _Translate | _Speak | Transcribe | Annotate
