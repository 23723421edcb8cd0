"""Languages of this wire (`EN-GB`, `ZH-HANS`, `ES-419`) and BCP 47 tags (`en-GB`, `zh-Hans`).

The vendor translates from languages, and into languages or, for four of them, into variants. A tag
with a region that it does not tell apart goes to the variant that the region's language is closest
to, by the parent locales of Unicode CLDR 45 (`en-AU` is closer to British English, `es-MX` to that
of Latin America); a tag without a region goes to its likely one. Of all other languages a region
is no variant: `de-AT` is German.
Sources: GET /v2/languages in DeepL's OpenAPI description 3.11.0, the languages of its Python SDK
1.32; parentLocales and likelySubtags of https://github.com/unicode-org/cldr-json; read 2026-11-23.
"""

from __future__ import annotations

import re

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?")
SOURCES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""Tag -> name in English, of what the vendor translates from."""
VARIANTS = {
    "en-GB": "English (British)",
    "en-US": "English (American)",
    "es-419": "Spanish (Latin American)",
    "pt-BR": "Portuguese (Brazilian)",
    "pt-PT": "Portuguese (European)",
    "zh-Hans": "Chinese (simplified)",
    "zh-Hant": "Chinese (traditional)",
}
"""The same of those that it only translates into."""
TARGETS = {tag: name for tag, name in SOURCES.items() if tag not in {"en", "pt"}} | VARIANTS
_LIKELY = {"en": "en-US", "pt": "pt-BR"}
_AMERICAN = {"US", "AS", "BI", "CA", "GU", "MH", "MP", "PH", "PR", "UM", "VI"}
"""Regions whose English is not under international English (001), whose first is British."""
_TRADITIONAL = {"TW", "HK", "MO"}
_EUROPE = {"ES", "EA", "IC", "GQ", "PH"}
"""Regions whose Spanish is not that of Latin America."""
_SAME = {"no": "nb", "iw": "he", "in": "id"}
"""Codes that mean another one of the table."""


def to_tag(code: str) -> str | None:
    """The BCP 47 tag of a code as clients of this wire write it; None for what is no code."""
    found = _TAG.fullmatch(code)
    if found is None:
        return None
    language, script, region = found.groups()
    parts = [language.lower(), script and script.title(), region and region.upper()]
    return "-".join(part for part in parts if part)


def source_code(tag: str) -> str:
    """What the wire calls the language of a tag as a source: without its variant."""
    language = tag.partition("-")[0].lower()
    return _SAME.get(language, language).upper()


def target_code(tag: str) -> str:
    """What the wire calls a tag as a target."""
    found = _TAG.fullmatch(tag)
    if found is None:
        return tag.upper()
    language, script, region = (part or "" for part in found.groups())
    return _variant(language.lower(), script.title(), region.upper()).upper()


def _variant(language: str, script: str, region: str) -> str:
    if language in _LIKELY and not region:
        return _LIKELY[language]
    if language == "en":
        return "en-US" if region in _AMERICAN else "en-GB"
    if language == "pt":
        return "pt-BR" if region == "BR" else "pt-PT"
    if language == "es":
        return "es" if not region or region in _EUROPE else "es-419"
    if language == "zh":
        script = script or ("Hant" if region in _TRADITIONAL else "Hans" if region else "")
        return f"zh-{script}" if script else "zh"
    return _SAME.get(language, language)
