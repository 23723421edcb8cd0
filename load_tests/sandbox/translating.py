"""Translation without a model: what a test set, known sentences, else the text behind its language.

The language of a text is told by its script, or by its small words; English when nothing speaks for
another.
"""

import re
from pathlib import Path

import yaml

from load_tests.sandbox.answers import Answers

TAG = re.compile(r"<[^<>]+>")
WORD = re.compile(r"[^\W\d_]+")
SCRIPTS = (
    ("JA", re.compile("[\u3040-\u30ff]")),
    ("KO", re.compile("[\uac00-\ud7af]")),
    ("ZH", re.compile("[\u4e00-\u9fff]")),
    ("RU", re.compile("[\u0400-\u04ff]")),
    ("EL", re.compile("[\u0370-\u03ff]")),
    ("AR", re.compile("[\u0600-\u06ff]")),
    ("HE", re.compile("[\u0590-\u05ff]")),
    ("TH", re.compile("[\u0e00-\u0e7f]")),
)
SMALL = {
    "EN": "the is are and of to in it this that with you for was what where good thank hello",
    "DE": "der die das ist und nicht ein eine ich wir sie mit auf wo guten hallo vielen heute",
    "FR": "le la les est et un une des je nous vous dans avec pas où bonjour merci",
    "ES": "el los las es y un una de en con no por qué dónde hola gracias hoy",
    "IT": "il lo gli è e un una di che con non per dove ciao grazie oggi",
    "NL": "de het een is en niet ik wij van met op waar hallo dank vandaag",
    "PT": "o os as é e um uma de que com não por onde olá obrigado hoje",
}
SMALL_WORDS = {code: frozenset(words.split()) for code, words in SMALL.items()}


def spoken(text: str) -> str:
    """The language of a text, as a code of two letters in capitals."""
    for code, script in SCRIPTS:
        if script.search(text):
            return code
    words = [word.lower() for word in WORD.findall(text)]
    scores = {code: sum(word in small for word in words) for code, small in SMALL_WORDS.items()}
    return max(scores, key=lambda code: scores[code])


class Translator:
    """Translates texts."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        path = Path(__file__).with_name("phrases.yaml")
        listed: list[dict[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self._phrases = {text: phrase for phrase in listed for text in phrase.values()}

    def translate(self, text: str, source: str, target: str, *, tags: bool) -> str:
        """The text in the language `target` (a code with or without a region); tags stay."""
        told = self._answers.translated(text, target)
        if told is not None:
            return told
        base = target.partition("-")[0].lower()
        if not text.strip() or base == source.partition("-")[0].lower():
            return text
        if not tags:
            return self._known(text, target) or f"[{base}] {text}"
        parts = [
            part if TAG.fullmatch(part) else self._known(part, target) or part
            for part in re.split(f"({TAG.pattern})", text)
        ]
        said = "".join(parts)
        return said if said != text else f"[{base}] {text}"

    def _known(self, text: str, target: str) -> str | None:
        base = target.partition("-")[0].lower()
        return self._answers.translated(text, target) or self._phrases.get(text, {}).get(base)
