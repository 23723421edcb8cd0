"""How a call can end: one table, and the only file that looks at a status code.

    breaker   does it count for or against the backend's health
    limiter   is its latency a sample, or was it dropped by overload
    try_next  may another backend do better (never after the first event was sent)
    charge    what it costs: the reported usage, the whole quote, nothing

Sources: finagle ResponseClassifier; concurrency-limits Limiter.Listener (onSuccess, onIgnore,
onDropped); RFC 9110 section 15 for statuses; vendors' error pages (November 2026);
TorchServe 0.12 as measured (its errors name their exception in `type`).
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """One row of the table."""

    name: str
    breaker: Literal["success", "failure", "ignore"]
    limiter: Literal["sample", "dropped", "ignore"]
    try_next: bool
    charge: Literal["usage", "quote", "nothing"]


OK = Verdict("ok", "success", "sample", try_next=False, charge="usage")
# The client's mistake: every backend would say the same.
INVALID = Verdict("invalid", "ignore", "ignore", try_next=False, charge="nothing")
# Invalid for this backend alone: too long for its context, a parameter it does not know.
UNFIT = Verdict("unfit", "ignore", "ignore", try_next=True, charge="nothing")
# Our key or our plan with that vendor: the client is not to blame.
DENIED = Verdict("denied", "failure", "ignore", try_next=True, charge="nothing")
THROTTLED = Verdict("throttled", "ignore", "dropped", try_next=True, charge="nothing")
FAULT = Verdict("fault", "failure", "dropped", try_next=True, charge="nothing")
# Sent, and no whole answer came: timeout, reset, broken stream. The vendor may bill it.
LOST = Verdict("lost", "failure", "dropped", try_next=True, charge="quote")
# The caller's own deadline, shorter than the route's, cut it: that says little of the backend.
LATE = Verdict("late", "ignore", "ignore", try_next=True, charge="quote")
# A hedge lost, or the client left: what arrived, or the quote.
CANCELLED = Verdict("cancelled", "ignore", "ignore", try_next=False, charge="quote")
# A gate said no: nothing was sent.
REJECTED = Verdict("rejected", "ignore", "ignore", try_next=True, charge="nothing")

ALL = (OK, INVALID, UNFIT, DENIED, THROTTLED, FAULT, LOST, LATE, CANCELLED, REJECTED)

# What a wire's own error code says where the status alone would mislead.
_BY_CODE: dict[tuple[str, str], Verdict] = {
    ("openai", "insufficient_quota"): DENIED,
    ("openai", "context_length_exceeded"): UNFIT,
    ("openai", "model_not_found"): UNFIT,
    ("openai", "unsupported_parameter"): UNFIT,
    ("openai", "unsupported_value"): UNFIT,
    ("torchserve", "ServiceUnavailableException"): THROTTLED,
    ("torchserve", "InternalServerException"): FAULT,
    ("torchserve", "WorkerDied"): LOST,
    ("torchserve", "ModelNotFoundException"): UNFIT,
    ("torchserve", "InvalidKeyException"): DENIED,
    ("torchserve", "context_length_exceeded"): UNFIT,
    ("torchserve", "unsupported"): UNFIT,
    ("deepl", "target_lang_not_supported"): UNFIT,
    ("deepl", "source_lang_not_supported"): UNFIT,
    ("deepl", "formality_not_supported"): UNFIT,
    ("elevenlabs", "max_character_limit_exceeded"): UNFIT,
    ("elevenlabs", "voice_not_found"): UNFIT,
    ("elevenlabs", "model_not_found"): UNFIT,
    ("elevenlabs", "output_format_not_allowed"): UNFIT,
    ("google_speech", "API_KEY_INVALID"): DENIED,
    ("google_speech", "CANCELLED"): LOST,
    ("google_speech", "ABORTED"): FAULT,
    ("google_speech", "NOT_FOUND"): UNFIT,
    ("google_speech", "UNIMPLEMENTED"): UNFIT,
    ("google_vision", "ABORTED"): FAULT,
    ("google_vision", "NOT_FOUND"): UNFIT,
    ("google_vision", "UNIMPLEMENTED"): UNFIT,
    ("google_vision", "API_KEY_INVALID"): DENIED,
    ("google_vision", "CANCELLED"): LOST,
}


_BY_STATUS = {
    401: DENIED,
    402: DENIED,
    403: DENIED,
    # The backend, or a proxy before it, gave up waiting: it may still be working, and billing.
    408: LOST,
    504: LOST,
    413: UNFIT,
    429: THROTTLED,
    456: THROTTLED,  # DeepL: quota exceeded
    529: THROTTLED,  # overloaded
}


def judge(wire: str, status: int, code: str = "") -> Verdict:
    """The verdict on an answer's HTTP *status*, refined by the wire's own error *code*."""
    if status < 300:
        return OK
    known = _BY_CODE.get((wire, code)) or _BY_STATUS.get(status)
    # A redirect is followed by nobody: the address is wrong, and the client is not to blame.
    return known or (INVALID if 400 <= status < 500 else FAULT)
