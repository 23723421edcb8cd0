"""Google Speech's requests, version 1 and 2, as messages that refuse unknown fields."""

from typing import Any

import msgspec
from msgspec import Struct

ENCODINGS = {  # version 1
    "ENCODING_UNSPECIFIED": 0,
    "LINEAR16": 1,
    "FLAC": 2,
    "MULAW": 3,
    "AMR": 4,
    "AMR_WB": 5,
    "OGG_OPUS": 6,
    "SPEEX_WITH_HEADER_BYTE": 7,
    "MP3": 8,
    "WEBM_OPUS": 9,
    "ALAW": 10,
}
ENCODINGS_2 = {
    "AUDIO_ENCODING_UNSPECIFIED": 0,
    "LINEAR16": 1,
    "MULAW": 2,
    "ALAW": 3,
    "AMR": 4,
    "AMR_WB": 5,
    "FLAC": 6,
    "MP3": 7,
    "OGG_OPUS": 8,
    "WEBM_OPUS": 9,
    "MP4_AAC": 10,
    "M4A_AAC": 11,
    "MOV_AAC": 12,
}


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    """A message of protobuf."""


class AudioIn(Strict):
    """The recording."""

    content: str = ""
    uri: str = ""


class Config(Strict):
    """RecognitionConfig of version 1."""

    encoding: str | int = 0
    sample_rate_hertz: int = 0
    audio_channel_count: int = 0
    enable_separate_recognition_per_channel: bool = False
    language_code: str = ""
    alternative_language_codes: list[str] = []
    max_alternatives: int = 0
    profanity_filter: bool = False
    adaptation: dict[str, Any] | None = None
    transcript_normalization: dict[str, Any] | None = None
    speech_contexts: list[dict[str, Any]] = []
    enable_word_time_offsets: bool = False
    enable_word_confidence: bool = False
    enable_automatic_punctuation: bool = False
    enable_spoken_punctuation: bool | None = None
    enable_spoken_emojis: bool | None = None
    diarization_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    model: str = ""
    use_enhanced: bool = False


class Recognize(Strict):
    """RecognizeRequest of version 1."""

    config: Config | None = None
    audio: AudioIn = msgspec.field(default_factory=AudioIn)


class Explicit(Strict):
    """ExplicitDecodingConfig."""

    encoding: str | int = 0
    sample_rate_hertz: int = 0
    audio_channel_count: int = 0


class Features(Strict):
    """RecognitionFeatures."""

    profanity_filter: bool = False
    enable_word_time_offsets: bool = False
    enable_word_confidence: bool = False
    enable_automatic_punctuation: bool = False
    enable_spoken_punctuation: bool = False
    enable_spoken_emojis: bool = False
    multi_channel_mode: str | int = 0
    diarization_config: dict[str, Any] | None = None
    max_alternatives: int = 0
    custom_prompt_config: dict[str, Any] | None = None


class Config2(Strict):
    """RecognitionConfig of version 2."""

    auto_decoding_config: dict[str, Any] | None = None
    explicit_decoding_config: Explicit | None = None
    model: str = ""
    language_codes: list[str] = []
    features: Features = msgspec.field(default_factory=Features)
    adaptation: dict[str, Any] | None = None
    transcript_normalization: dict[str, Any] | None = None
    translation_config: dict[str, Any] | None = None
    denoiser_config: dict[str, Any] | None = None


class Recognize2(Strict):
    """RecognizeRequest of version 2."""

    config: Config2 = msgspec.field(default_factory=Config2)
    config_mask: str = ""
    content: str = ""
    uri: str = ""
    recognizer: str = ""
