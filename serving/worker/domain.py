"""A closed domain: a model is served for texts that one regular expression matches, no others.

`model/domain.json` is `{"pattern": "...", "lower": true, "says": "what it covers"}`. A net that was
trained on a small language answers anything, mostly with nonsense; so what is outside is refused
before the net sees it. Texts are compared, and given to the net, with single blanks and, where
`lower` is true, in lower case.
"""

import re
from pathlib import Path

import msgspec

from serving.worker.wire import Refused

LONGEST = 1000  # characters; keeps a hostile text from keeping the expression busy
SHOWN = 60


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `domain.json` holds."""

    pattern: str
    says: str
    lower: bool = False

    def admit(self, text: str) -> str:
        """The text as the net reads it. Raises: Refused with `unsupported`."""
        plain = " ".join(text.split())
        plain = plain.lower() if self.lower else plain
        if len(plain) > LONGEST or not re.fullmatch(self.pattern, plain):
            message = f"This model translates {self.says}; {_short(plain)!r} is none of them."
            raise Refused("unsupported", message)
        return plain


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def read_domain(model_dir: Path) -> Domain | None:
    """The domain of a model; None where it has none. Raises: ValueError."""
    file = model_dir / "domain.json"
    if not file.exists():
        return None
    try:
        domain = msgspec.json.decode(file.read_bytes(), type=Domain)
        re.compile(domain.pattern)
    except (msgspec.MsgspecError, re.error) as error:
        message = f"domain.json: {error}"
        raise ValueError(message) from error
    return domain
