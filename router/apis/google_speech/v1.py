"""Version 1 of the wire: `POST /v1/speech:recognize`.

Automatic punctuation, and what is said of the recording's origin (`metadata`), keep no call with
the vendor: the hub's texts are punctuated wherever they come from.
Source: https://cloud.google.com/speech-to-text/docs/reference/rest/v1/RecognitionConfig; discovery
document of revision 20251201; read 2026-11-23.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from router.apis.google_vision.protojson import beyond, data, matters, number, shaped
from router.core.errors import BadRequest
from router.core.task import TranscribeRequest

from .asked import Asked, heard_encoding, refuse_uri, tag
from .forms import BARE, GENERAL, NAMES, V1, with_region
from .hearing import Said, hear

PATH = "/v1/speech:recognize"
_TOP = frozenset({"config", "audio"})
_AUDIO = frozenset({"content", "uri"})
_HUB = frozenset(
    {
        "encoding",
        "sampleRateHertz",
        "audioChannelCount",
        "languageCode",
        "enableWordTimeOffsets",
        "enableAutomaticPunctuation",
        "metadata",
        "model",
        "maxAlternatives",
    }
)


class _Config(msgspec.Struct, rename="camel"):
    encoding: str | int = 0
    sample_rate_hertz: int = 0
    audio_channel_count: int = 0
    language_code: str = ""
    enable_word_time_offsets: bool = False
    enable_automatic_punctuation: bool = False
    max_alternatives: int = 0
    model: str = ""


class _Audio(msgspec.Struct):
    content: str = ""
    uri: str = ""


class _Body(msgspec.Struct):
    config: _Config
    audio: _Audio = msgspec.field(default_factory=_Audio)


def ask(values: dict[str, Any]) -> Asked:
    """Read a body. Raises BadRequest."""
    body = shaped(values, _Body)
    config = body.config
    refuse_uri(body.audio.uri, "audio.uri")
    language = tag(config.language_code, "config.languageCode")
    encoding = heard_encoding(number(config.encoding, V1, "config.encoding"), V1, "config.encoding")
    said = Said(encoding, config.sample_rate_hertz, config.audio_channel_count, "config")
    audio = data(body.audio.content, "audio.content")
    heard = hear(audio, said)
    if heard.encoding not in {"wav", "flac"}:
        if not encoding:
            raise BadRequest(
                f"`config.encoding` is missing: the audio is {heard.encoding}, say so.",
                param="config.encoding",
            )
        if not config.sample_rate_hertz:
            raise BadRequest(
                f"`config.sampleRateHertz` is missing: the audio has {heard.sample_rate_hz}.",
                param="config.sampleRateHertz",
            )
    if heard.channels > 1 and config.audio_channel_count < 2 and heard.encoding != "mp3":
        raise BadRequest(
            f"The audio has {heard.channels} channels: say so in `config.audioChannelCount`.",
            param="config.audioChannelCount",
        )
    extras = beyond(values, _TOP, "") | beyond(values.get("audio", {}), _AUDIO, "audio")
    extras |= beyond(values["config"], _HUB, "config")
    if config.max_alternatives > 1:
        extras.add("config.maxAlternatives")
    return Asked(
        audio,
        heard,
        language,
        extras,
        model="" if config.model in GENERAL else config.model,
        word_times=config.enable_word_time_offsets,
    )


def body(asked: TranscribeRequest, model: str, phrases: list[str]) -> dict[str, Any]:
    """A call of the hub as a body."""
    assert asked.language is not None
    config: dict[str, Any] = {
        "languageCode": with_region(asked.language),
        "enableAutomaticPunctuation": True,
    }
    if asked.encoding in NAMES:
        config["encoding"] = NAMES[asked.encoding]
        if asked.sample_rate_hz and asked.encoding != "flac":
            config["sampleRateHertz"] = asked.sample_rate_hz
    if asked.channels > 1 and asked.encoding in BARE:
        config["audioChannelCount"] = asked.channels
    if asked.timestamps != "none":
        config["enableWordTimeOffsets"] = True
    if phrases:
        config["speechContexts"] = [{"phrases": phrases}]
    if model not in {"", "default"}:
        config["model"] = model
    return {"config": config, "audio": {"content": b64encode(asked.audio).decode()}}


def passed(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """The client's own body, with the backend's model where it names none."""
    if model in {"", "default"}:
        return fields
    config = msgspec.json.decode(fields["config"], type=dict[str, msgspec.Raw])
    if not matters(msgspec.json.decode(config.get("model", b'""'))):
        config["model"] = msgspec.Raw(msgspec.json.encode(model))
    return fields | {"config": config}
