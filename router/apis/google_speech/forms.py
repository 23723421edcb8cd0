"""Encodings, models and languages as Google Speech names them, in both of its versions.

Source: google/cloud/speech/v1/cloud_speech.proto and v2/cloud_speech.proto;
https://cloud.google.com/speech-to-text/docs/speech-to-text-supported-languages; read 2026-11-23.
"""

from __future__ import annotations

V1 = {
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
V2 = {
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
HUB = {
    "LINEAR16": "pcm_s16le",
    "FLAC": "flac",
    "MULAW": "mulaw",
    "ALAW": "alaw",
    "OGG_OPUS": "ogg_opus",
    "WEBM_OPUS": "webm_opus",
    "MP3": "mp3",
    "MP4_AAC": "mp4",
    "M4A_AAC": "mp4",
    "MOV_AAC": "mp4",
}
"""The wire's name -> the hub's, of the encodings that can be heard here."""
NAMES = {
    "pcm_s16le": "LINEAR16",
    "flac": "FLAC",
    "mulaw": "MULAW",
    "alaw": "ALAW",
    "ogg_opus": "OGG_OPUS",
    "webm_opus": "WEBM_OPUS",
    "mp3": "MP3",
}
"""The hub's name -> the wire's. A wav's header says what it is."""
BARE = frozenset({"pcm_s16le", "mulaw", "alaw"})
GENERAL = frozenset(
    {"", "default", "latest_long", "latest_short", "long", "short", "chirp", "chirp_2", "chirp_3"}
)
"""Models for speech of any kind: a route chooses its own. Others are asked for a reason."""
_REGIONS = {
    "af": "ZA", "am": "ET", "ar": "EG", "az": "AZ", "bg": "BG", "bn": "BD", "bs": "BA", "ca": "ES",
    "cs": "CZ", "da": "DK", "de": "DE", "el": "GR", "en": "US", "es": "ES", "et": "EE", "eu": "ES",
    "fa": "IR", "fi": "FI", "fr": "FR", "gl": "ES", "gu": "IN", "hi": "IN", "hr": "HR", "hu": "HU",
    "hy": "AM", "id": "ID", "is": "IS", "it": "IT", "ja": "JP", "ka": "GE", "kk": "KZ", "km": "KH",
    "kn": "IN", "ko": "KR", "lo": "LA", "lt": "LT", "lv": "LV", "mk": "MK", "ml": "IN", "mn": "MN",
    "mr": "IN", "ms": "MY", "my": "MM", "ne": "NP", "nl": "NL", "no": "NO", "pl": "PL", "pt": "BR",
    "ro": "RO", "ru": "RU", "si": "LK", "sk": "SK", "sl": "SI", "sq": "AL", "sr": "RS", "sv": "SE",
    "sw": "TZ", "ta": "IN", "te": "IN", "th": "TH", "tr": "TR", "uk": "UA", "ur": "PK", "uz": "UZ",
    "vi": "VN", "zu": "ZA",
}  # fmt: skip
"""The likeliest region of a language (Unicode CLDR 48, likely subtags), of those the vendor has."""
_APART = {"zh": "cmn-Hans-CN", "he": "iw-IL", "nb": "no-NO"}


def with_region(tag: str) -> str:
    """A BCP 47 tag as the vendor lists it: it lists languages with their regions."""
    language = tag.lower()
    if language in _APART:
        return _APART[language]
    return f"{language}-{_REGIONS[language]}" if language in _REGIONS else tag


def tidy(tag: str) -> str | None:
    """A tag in BCP 47's customary case: the vendor answers `en-us`."""
    first, *rest = tag.split("-")
    sized = {2: str.upper, 4: str.title}
    parts = [sized.get(len(part), str.lower)(part) for part in rest]
    return "-".join([first.lower(), *parts]) or None
