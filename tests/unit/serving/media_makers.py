"""What the tests of sound and images share: calls as TorchServe makes them, sounds, stand-ins."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from ts.context import Context, RequestProcessor

from serving.worker.speak_answer import wav
from serving.worker.whisper import Guess

RATE = 16_000


def context_for(folder: Any = "/nowhere/x", **handler: Any) -> Context:
    config = {"batchSize": 8, "handler": {"threads": 1, **handler}}
    return Context("tiny", str(folder), {}, 8, None, "0", True, SimpleNamespace(), config)


def _call(handler, context, live):
    keys = list(live)
    context.request_ids = dict(enumerate(keys))
    context.request_processor = [RequestProcessor({}) for _ in keys]
    items = [{} if b is None else {"body": json.dumps(b).encode()} for b in live.values()]
    return handler.handle(items, context)


def ask(handler: Any, bodies: list[Any]) -> tuple[list[str], list[int]]:
    """One batch: bodies and statuses."""
    context = context_for()
    out = _call(handler, context, {str(i): body for i, body in enumerate(bodies)})
    return out, [context.get_response_status(i)[0] for i in range(len(bodies))]


def drive(handler: Any, bodies: list[Any]) -> tuple[list[str], list[int]]:
    """A continuous batch, called until all are over: bodies and statuses."""
    context = context_for()
    live = {str(i): body for i, body in enumerate(bodies)}
    out, status = dict.fromkeys(live, ""), {}
    for _ in range(20_000):
        parts = _call(handler, context, live)
        for index, key in enumerate(list(live)):
            out[key] += parts[index]
            status.setdefault(key, context.get_response_status(index)[0])
            live[key] = None
            if context.stopping_criteria[index](parts[index]):
                del live[key]
        if not live:
            keys = [str(i) for i in range(len(bodies))]
            return [out[k] for k in keys], [status[k] for k in keys]
    raise AssertionError("not over")


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> bytes:
    """A WAV file of a plain tone."""
    time = np.arange(round(seconds * rate)) / rate
    return wav((np.sin(2 * np.pi * hertz * time) * 9000).astype("<i2").tobytes(), rate)


def as_container(samples: np.ndarray, rate: int, form: str, codec: str) -> bytes:
    """Mono float samples in a container, by FFmpeg."""
    import av

    into = io.BytesIO()
    with av.open(into, "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format.name, layout="mono", rate=rate, frame_size=stream.frame_size or 0
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return into.getvalue()


class FakeWhisper:
    """Says `script[i]` in window i of a recording; keeps what it was asked."""

    bands = 80

    def __init__(self, script, multilingual=True, faulty=None):
        self.script, self.multilingual, self.faulty = script, multilingual, faulty
        self.passes: list[int] = []
        self.prompts: list[list[int]] = []
        self.temperatures: list[float] = []

    def encode(self, mels):
        self.passes.append(len(mels))
        if self.faulty is not None and any(self.faulty(mel) for mel in mels):
            raise RuntimeError("the engine broke")
        return np.arange(len(mels))[:, None]

    def pick(self, states, rows):
        return states[list(rows)]

    def languages(self, states):
        return ["de"] * len(states)

    def generate(self, states, prompts, temperature):
        self.prompts += prompts
        self.temperatures.append(temperature)
        return [self._say() for _ in prompts]

    def _say(self):
        said = self.script.pop(0) if self.script else []
        return said if isinstance(said, Guess) else Guess(list(said), -0.1, 0.0)

    def align(self, states, prompt, tokens, frames):
        assert len(states) == 1
        return [(i, 10 * i) for i in range(len(tokens) + 1)]


class FakeVocabulary:
    """Characters are their own code points; times start at 105,000."""

    end, start, transcribe, no_times, first_time = 100_000, 100_001, 100_100, 100_101, 105_000
    languages: ClassVar = {
        "en": 100_002,
        "de": 100_003,
        "pt": 100_004,
        "no": 100_005,
        "tl": 100_006,
    }

    def prompt(self, language, *, times):
        from serving.worker.whisper import Vocabulary

        return Vocabulary.prompt(self, language, times=times)

    def language(self, tag, *, multilingual):
        from serving.worker.whisper import Vocabulary

        return Vocabulary.language(self, tag, multilingual=multilingual)

    def text(self, tokens):
        return "".join(chr(t) for t in tokens if t < self.end)

    def seconds(self, token):
        return (token - self.first_time) * 0.02


def said(text: str) -> list[int]:
    return [ord(char) for char in text]


def at(seconds: float) -> int:
    """The time token of a moment in a window."""
    return 105_000 + round(seconds / 0.02)
