"""Faults on demand: rules set over HTTP, or one fault by the header `x-sandbox-fault`.

A request that the vendor itself refuses (key, model, form) is refused as ever; a fault strikes
calls that would be served. Kinds:
  status              an error with `status`, `code`, `retry_after`; not billed
  hang                no byte for `seconds` (default: until the client leaves), then closed
  hang_after_headers  headers, `after_events` events (default 0), then silence like hang
  cut                 closed after `after_events` events (default 1) or half of a whole answer
  reset               reset after `after_events` events (default 0: before the headers)
  slow                `seconds` before the headers and before every event
  truncate_json       well-framed, but the JSON breaks off; in a stream after `after_events`. Other
                      content stays whole: half of a sound is a sound, and nobody can tell
  wrong_schema        valid JSON, but not of this wire: the body, or in a stream the events from
                      `after_events` (default 0) on, but for the one that ends it
  refuse              for `seconds` (default 1) nothing listens, open connections are closed; a rule
                      starts when it is set, and takes the control paths along; not billed
The header takes one fault: `status=503`, `status=429; retry_after=2; code=insufficient_quota`,
`cut=3`, `hang`, `slow=0.2`.
"""

import random
from typing import Literal

import msgspec
from msgspec import Struct

Kind = Literal[
    "status",
    "hang",
    "hang_after_headers",
    "cut",
    "reset",
    "slow",
    "truncate_json",
    "wrong_schema",
    "refuse",
]
VALUE_OF = {"status": "status", "cut": "after_events", "reset": "after_events"}


class Match(Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls: every field that is given must be equal."""

    vendor: str | None = None
    path: str | None = None
    model: str | None = None
    key: str | None = None
    stream: bool | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One fault. `probability` of a matching call to be struck; `times`: how often at most."""

    fault: Kind
    match: Match = Match()
    status: int = 500
    code: str | None = None
    retry_after: float | None = None
    after_events: int | None = None
    seconds: float | None = None
    probability: float = 1.0
    times: int | None = None


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT /sandbox/faults."""

    rules: list[Rule]


class Faults:
    """The rules of the moment; the first that matches and is drawn strikes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.set([])

    def set(self, rules: list[Rule]) -> None:
        """Replace all rules and begin counting their `times` anew."""
        self.rules = rules
        self._left = [rule.times for rule in rules]

    def strike(
        self, *, path: str, model: str, key: str, stream: bool, vendor: str = ""
    ) -> Rule | None:
        """The fault for this call, if any."""
        for at, rule in enumerate(self.rules):
            asked = Match(vendor, path, model, key, stream)
            if self._left[at] == 0 or not _matches(rule.match, asked):
                continue
            if rule.probability < 1.0 and self._random.random() >= rule.probability:
                continue
            left = self._left[at]
            self._left[at] = None if left is None else left - 1
            return rule
        return None


def from_header(text: str) -> Rule:
    """The fault of an `x-sandbox-fault` header. Raises msgspec.ValidationError when it is none."""
    first, *rest = [part.strip() for part in text.split(";")]
    kind, _, value = first.partition("=")
    fields = {"fault": kind}
    if value:
        fields[VALUE_OF.get(kind, "seconds")] = value
    for part in rest:
        name, _, value = part.partition("=")
        fields[name.strip()] = value.strip()
    return msgspec.convert(fields, Rule, strict=False)


def _matches(match: Match, asked: Match) -> bool:
    return all(
        getattr(match, name) in (None, getattr(asked, name)) for name in Match.__struct_fields__
    )
