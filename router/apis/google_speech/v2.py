"""Version 2 of the wire: `POST /v2/projects/{p}/locations/{l}/recognizers/{r}:recognize`.

The recognizer must be `_`: a named one holds settings that only the vendor knows. A location other
than `global` keeps the call with backends in that location.
Source: https://cloud.google.com/speech-to-text/v2/docs/reference/rest/v2/
projects.locations.recognizers/recognize; google/cloud/speech/v2/cloud_speech.proto; read
2026-11-23.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from router.apis.google_vision.protojson import beyond, data, matters, number, shaped
from router.core.errors import BadRequest
from router.core.task import TranscribeRequest

from .asked import Asked, heard_encoding, refuse_uri, tag
from .forms import BARE, GENERAL, NAMES, V2, with_region
from .hearing import Said, hear

PATH = "/v2/projects/{project}/locations/{location}/recognizers/{recognizer}:recognize"
SENT = "/recognizers/_:recognize"
AUTO = "auto"
"""The language of models that find it out."""
_TOP = frozenset({"config", "configMask", "content", "uri", "recognizer"})
_CONFIG = frozenset(
    {"autoDecodingConfig", "explicitDecodingConfig", "model", "languageCodes", "features"}
)
_FEATURES = frozenset({"enableWordTimeOffsets", "enableAutomaticPunctuation", "maxAlternatives"})


class _Explicit(msgspec.Struct, rename="camel"):
    encoding: str | int = 0
    sample_rate_hertz: int = 0
    audio_channel_count: int = 0


class _Features(msgspec.Struct, rename="camel"):
    enable_word_time_offsets: bool = False
    max_alternatives: int = 0


class _Config(msgspec.Struct, rename="camel"):
    auto_decoding_config: dict[str, Any] | None = None
    explicit_decoding_config: _Explicit | None = None
    model: str = ""
    language_codes: list[str] = []
    features: _Features = msgspec.field(default_factory=_Features)


class _Body(msgspec.Struct):
    config: _Config
    content: str = ""
    uri: str = ""


def ask(values: dict[str, Any], params: Mapping[str, str]) -> Asked:
    """Read a body. Raises BadRequest."""
    if params.get("recognizer", "_") != "_":
        raise BadRequest(
            f"Recognizer {params['recognizer']!r} is kept at the vendor: name `_`, and send its "
            "settings in `config`.",
            param="recognizer",
            code="unsupported_value",
        )
    body = shaped(values, _Body)
    config = body.config
    refuse_uri(body.uri, "uri")
    if not config.language_codes:
        raise BadRequest(
            "`config.languageCodes` is empty: send a tag such as en-US, or auto.",
            param="config.languageCodes",
        )
    tags = [tag(code, "config.languageCodes") for code in config.language_codes]
    audio = data(body.content, "content")
    heard = hear(audio, _said(config))
    extras = beyond(values, _TOP, "") | beyond(values["config"], _CONFIG, "config")
    extras |= beyond(values["config"].get("features", {}), _FEATURES, "config.features")
    if config.features.max_alternatives > 1:
        extras.add("config.features.maxAlternatives")
    if len(tags) > 1:
        extras.add("config.languageCodes")
    return Asked(
        audio,
        heard,
        None if tags[0] == AUTO else tags[0],
        extras,
        model="" if config.model in GENERAL else config.model,
        word_times=config.features.enable_word_time_offsets,
    )


def _said(config: _Config) -> Said:
    explicit = config.explicit_decoding_config
    if explicit is None:
        if config.auto_decoding_config is None:
            raise BadRequest(
                "`config` does not say how to decode: send `autoDecodingConfig: {}`, or "
                "`explicitDecodingConfig`.",
                param="config.autoDecodingConfig",
            )
        return Said("", 0, 0, "config.autoDecodingConfig")
    at = "config.explicitDecodingConfig"
    value = number(explicit.encoding, V2, f"{at}.encoding")
    if not value:
        raise BadRequest(f"`{at}.encoding` is missing.", param=f"{at}.encoding")
    encoding = heard_encoding(value, V2, f"{at}.encoding")
    return Said(encoding, explicit.sample_rate_hertz, explicit.audio_channel_count, at)


def body(asked: TranscribeRequest, model: str, phrases: list[str]) -> dict[str, Any]:
    """A call of the hub as a body."""
    config: dict[str, Any] = {
        "languageCodes": [AUTO if asked.language is None else with_region(asked.language)],
        "features": {"enableAutomaticPunctuation": True},
    }
    if asked.encoding in BARE:
        config["explicitDecodingConfig"] = {
            "encoding": NAMES[asked.encoding],
            "sampleRateHertz": asked.sample_rate_hz,
            "audioChannelCount": asked.channels,
        }
    else:
        config["autoDecodingConfig"] = {}
    if asked.timestamps != "none":
        config["features"]["enableWordTimeOffsets"] = True
    if phrases:
        hints = {"phrases": [{"value": phrase} for phrase in phrases]}
        config["adaptation"] = {"phraseSets": [{"inlinePhraseSet": hints}]}
    if model:
        config["model"] = model
    return {"config": config, "content": b64encode(asked.audio).decode()}


def passed(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """The client's own body, with the backend's model where it names none."""
    fields.pop("recognizer", None)  # the path names it
    config = msgspec.json.decode(fields["config"], type=dict[str, msgspec.Raw])
    if model and not matters(msgspec.json.decode(config.get("model", b'""'))):
        config["model"] = msgspec.Raw(msgspec.json.encode(model))
        return fields | {"config": config}
    return fields
