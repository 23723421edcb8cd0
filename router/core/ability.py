"""What a backend's model can do of its task, as the configuration says; checked by the plan."""

from __future__ import annotations

import msgspec

from .call import Call
from .task import AnnotateRequest, SpeakRequest, TranscribeRequest, TranslateRequest

ANY = "*"


class Abilities(msgspec.Struct, frozen=True):
    """Limits of one backend; None: not limited, the backend itself refuses what it cannot do.

    Languages are BCP 47 tags; one without a region (`en`) stands for all of its regions.
    """

    voices: dict[str, str] | None = None
    """Voice as clients name it -> the backend's own name of it; `*` stands for all others."""
    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    features: frozenset[str] | None = None

    def unfit(self, call: Call) -> str:
        """What of *call* is beyond it; "" when nothing is."""
        request = call.request
        if isinstance(request, SpeakRequest):
            return self._voice(request)
        if isinstance(request, TranslateRequest):
            return _beyond(self.sources, request.source, "from") or _beyond(
                self.targets, request.target, "to"
            )
        if isinstance(request, TranscribeRequest):
            return _beyond(self.sources, request.language, "from")
        if isinstance(request, AnnotateRequest) and self.features is not None:
            missing = {name for name, _ in request.features} - self.features
            if missing:
                return f"it does not know the feature {', '.join(sorted(missing))}"
        return ""

    def voice(self, asked: str) -> str:
        """The backend's own name of a voice."""
        if self.voices is None:
            return asked
        if not asked:  # the choice is the backend's: its first
            return self.voices.get(ANY) or next(iter(self.voices.values()), "")
        return self.voices.get(asked) or self.voices.get(ANY, asked)

    def _voice(self, request: SpeakRequest) -> str:
        if self.voices is None or not request.voice:
            return ""
        if ANY in self.voices or request.voice in self.voices:
            return ""
        return f"it has no voice for {request.voice!r}"


def _beyond(known: frozenset[str] | None, asked: str | None, way: str) -> str:
    if known is None or asked is None:
        return ""
    tag = asked.lower()
    if tag in known or tag.partition("-")[0] in known:
        return ""
    return f"it has no language {way} {asked}"
