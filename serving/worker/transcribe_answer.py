"""One transcript under way: what was heard in, wire text out."""

from serving.worker.rounds import Job
from serving.worker.transcribe_windows import Recording
from serving.worker.whisper import TAGS
from serving.worker.wire import Transcribe, encode


class Transcript:
    """One answer under way; it is sent whole."""

    stream = False

    def __init__(self, run: Job, request: Transcribe, model: str) -> None:
        """`run` carries a Recording."""
        self.run = run
        self._times, self._model = request.timestamps, model
        self.over = False

    @property
    def eager(self) -> bool:
        """Whether it is ready."""
        return self.run.over

    def advance(self) -> str:
        """The whole body once all is heard."""
        if not self.run.over:
            return ""
        self.over = True
        if self.run.fault:
            return encode({"error": {"code": "engine_failed", "message": self.run.fault}}) + "\n"
        heard: Recording = self.run.state
        seconds = round(heard.seconds, 3)
        language = heard.language or "en"
        spans = {"segments": heard.segments, "words": heard.words}
        asked = {"segments": self._times != "none", "words": self._times == "word"}
        return encode(
            {
                "text": "".join(heard.texts).strip(),
                "language": TAGS.get(language, language) if heard.known else None,
                "seconds": seconds,
                **{
                    name: [
                        {"start": round(s.start, 2), "end": round(s.end, 2), "text": s.text}
                        for s in (found if asked[name] else [])
                    ]
                    for name, found in spans.items()
                },
                "usage": {"seconds": seconds},
                "model": self._model,
            }
        )
