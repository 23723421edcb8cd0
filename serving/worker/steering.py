"""How a model is told between which languages to translate (settings: `steering`)."""

from collections.abc import Sequence
from typing import Any

from serving.worker.prompts import token_rows
from serving.worker.settings import Translation
from serving.worker.translation import Row


class Steering:
    """Lines to rows, by the model's own tokenizer."""

    def __init__(self, tokenizer: Any, languages: Translation) -> None:
        """Raises: ValueError where the settings name marks that the tokenizer does not have."""
        self._tokenizer, self._languages = tokenizer, languages
        self._marks: dict[str, int] = {}
        if languages.steering == "prefix" and "{target}" not in languages.prefix:
            message = f"translation.prefix must hold {{target}}; it is {languages.prefix!r}"
            raise ValueError(message)
        if languages.steering == "none" and len(languages.targets) > 1:
            message = "translation.steering is none, so there can be one target only"
            raise ValueError(message)
        if languages.steering == "tokens":
            for code in languages.sources.values():
                _mark(tokenizer, code)
            self._marks = {tag: _mark(tokenizer, c) for tag, c in languages.targets.items()}

    def rows(self, lines: Sequence[str], source: str, target: str) -> list[Row]:
        """Each line as a row; `source` and `target` are tags of the settings."""
        if not lines:
            return []
        languages = self._languages
        start: tuple[int, ...] = ()
        if languages.steering == "prefix":
            prefix = languages.prefix.replace("{source}", languages.sources[source])
            prefix = prefix.replace("{target}", languages.targets[target])
            lines = [prefix + line for line in lines]
        elif languages.steering == "tokens":
            self._tokenizer.src_lang = languages.sources[source]
            start = (self._marks[target],)
        return [Row(ids, start) for ids in token_rows(self._tokenizer, lines)]


def _mark(tokenizer: Any, code: str) -> int:
    """The id of a language's token: M2M100 looks it up by its code, the others spell it so."""
    try:
        if hasattr(tokenizer, "get_lang_id"):
            found = tokenizer.get_lang_id(code)
        else:
            found = tokenizer.convert_tokens_to_ids(code)
    except KeyError:
        found = None
    if found is None or found == tokenizer.unk_token_id:
        message = f"translation: the tokenizer has no mark for the language {code!r}"
        raise ValueError(message)
    return int(found)
