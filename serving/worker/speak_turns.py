"""Requests under way take turns at the voice, a sentence each."""

from collections.abc import Sequence

from serving.worker.rounds import Job
from serving.worker.speak_voice import Voice

PAUSE = 0.2
"""Seconds between two sentences, as piper's own program has it."""


class Spoken:
    """What is still to be spoken of one request."""

    def __init__(self, voice: Voice, parts: list[list[int]], speed: float) -> None:
        """`parts` are sentences as phoneme ids."""
        self.voice, self.parts, self.speed = voice, parts, speed
        self.begun = False


def speak_next(turn: Sequence[Job]) -> None:
    """The next sentence of each job."""
    for job in turn:
        state: Spoken = job.state
        samples = state.voice.speak(state.parts[0], state.speed)
        pause = state.voice.silence(PAUSE / state.speed) if state.begun else b""
        state.begun = True
        del state.parts[0]
        job.put(pause + samples)
        if not state.parts:
            job.end()
