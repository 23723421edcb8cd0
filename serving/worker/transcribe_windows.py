"""Recordings of any length by windows of half a minute, several recordings side by side.

Each window begins where the last whole sentence of the one before ended, by Whisper's own time
tokens; no window is told what the one before held, because an error would then go on and on.

A window without sound is not shown to the model, which tends to hear words in silence; one that it
thinks silent and is unsure of is left out too; one that repeats itself is heard again, with chance.

Source: transcribe.py of openai/whisper (MIT), read 2026-11-23; the thresholds are its own.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.worker.rounds import Job
from serving.worker.whisper import Guess, Vocabulary, Whisper
from serving.worker.whisper_mel import HOP, RATE, SAMPLES, log_mel
from serving.worker.whisper_words import Span, words_of

SILENT = 0.6  # probability of no speech
UNSURE = -1.0  # mean log probability
REPEATING = 2.4  # times that a text can be squeezed
TEMPERATURES = (0.0, 0.4, 0.8)
FAINTEST = 1e-3
"""Peak of a window (full scale is 1) below which nothing can be heard: -60 dB."""
SHORTEST = 0.1  # seconds; what is left at the end is no word


@dataclass(slots=True)
class Recording:
    """One request's recording, and what was heard of it so far."""

    sound: Any
    language: str | None
    known: bool  # whether the language needs no guess
    times: str
    at: int = 0
    texts: list[str] = field(default_factory=list)
    segments: list[Span] = field(default_factory=list)
    words: list[Span] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return len(self.sound) / RATE

    @property
    def window(self) -> Any:
        """The samples that come next."""
        return self.sound[self.at : self.at + SAMPLES]

    @property
    def timed(self) -> bool:
        """Whether time tokens are needed: they cost words that fit into one window a little."""
        return self.times == "segment" or self.seconds * RATE > SAMPLES

    @property
    def heard(self) -> bool:
        """Whether nothing is left but what is too short for a word."""
        left = len(self.sound) - self.at
        return left <= 0 or (self.at > 0 and left < SHORTEST * RATE)


class Transcriber:
    """Steps recordings forward, one window at a time."""

    def __init__(self, whisper: Whisper, vocabulary: Vocabulary) -> None:
        """`vocabulary` is the model's."""
        self._whisper, self._vocabulary = whisper, vocabulary

    def step(self, turn: Sequence[Job]) -> None:
        """The next window of each job, together."""
        for job in turn:
            skip_silence(job.state)
        audible = [job.state for job in turn if not job.state.heard]
        if audible:
            self._hear(audible)
        for job in turn:
            if job.state.heard:
                job.put(job.state)
                job.end()

    def _hear(self, recordings: list[Recording]) -> None:
        mels = np.stack([log_mel(each.window, self._whisper.bands) for each in recordings])
        states = self._whisper.encode(mels)
        unknown = [row for row, each in enumerate(recordings) if not each.known]
        if unknown:
            found = self._whisper.languages(self._whisper.pick(states, unknown))
            for row, language in zip(unknown, found, strict=True):
                recordings[row].language, recordings[row].known = language, True
        for timed in (False, True):  # prompts of one pass are equally long
            rows = [row for row, each in enumerate(recordings) if each.timed == timed]
            for row, guess in self._guess(states, rows, recordings).items():
                self._take(recordings[row], guess, self._whisper.pick(states, [row]))

    def _guess(
        self, states: Any, rows: list[int], recordings: Sequence[Recording]
    ) -> dict[int, Guess]:
        """The guess of each row; those that repeat themselves are heard again, by chance."""
        best: dict[int, Guess] = {}
        left = rows
        for temperature in TEMPERATURES:
            if not left:
                break
            prompts = [
                self._vocabulary.prompt(recordings[row].language, times=recordings[row].timed)
                for row in left
            ]
            guesses = self._whisper.generate(self._whisper.pick(states, left), prompts, temperature)
            best |= dict(zip(left, guesses, strict=True))
            left = [row for row in left if repeats(self._vocabulary.text(best[row].tokens))]
        return best

    def _take(self, recording: Recording, guess: Guess, states: Any) -> None:
        start, window = recording.at / RATE, recording.window
        parts, moved = cut(guess.tokens, len(window) / RATE, self._vocabulary)
        recording.at += max(1, round(moved * RATE))
        doubtful = guess.logprob < UNSURE or repeats(self._vocabulary.text(guess.tokens))
        if guess.silence > SILENT and doubtful:
            return
        for part in parts:
            text = self._vocabulary.text(part.tokens)
            if text.strip():
                recording.texts.append(text)
                recording.segments.append(Span(start + part.start, start + part.end, text.strip()))
        if recording.times == "word":
            prompt = self._vocabulary.prompt(recording.language, times=True)
            tokens = [t for part in parts for t in part.tokens if t < self._vocabulary.end]
            frames = max(1, len(window) // HOP)
            pairs = self._whisper.align(states, prompt, tokens, frames) if tokens else []
            found = words_of(tokens, pairs, self._vocabulary.text, recording.language)
            recording.words += [Span(start + w.start, start + w.end, w.text) for w in found]


@dataclass(frozen=True, slots=True)
class Part:
    """Some tokens of a window, and when they are said in it, in seconds."""

    start: float
    end: float
    tokens: list[int]


def cut(tokens: list[int], seconds: float, vocabulary: Vocabulary) -> tuple[list[Part], float]:
    """The sentences of a window by its time tokens, and how far the next window is from this one.

    A sentence stands between two time tokens. The last one, if it has no end, is not whole: the
    next window begins before it, so that it is heard again, unless it is all that there is.
    """
    times = [token >= vocabulary.first_time for token in tokens]
    breaks = [at for at in range(1, len(tokens)) if times[at - 1] and times[at]]
    alone = times[-2:] == [False, True]
    if not breaks:
        marks = [token for token in tokens if token > vocabulary.first_time]
        end = min(seconds, vocabulary.seconds(marks[-1])) if marks else seconds
        return [Part(0.0, end, tokens)], seconds
    ends = [*breaks, len(tokens)] if alone else breaks
    parts, last = [], 0
    for end in ends:
        piece = tokens[last:end]
        begun = vocabulary.seconds(piece[0]) if times[last] else 0.0
        ended = vocabulary.seconds(piece[-1]) if times[end - 1] else seconds
        parts.append(Part(min(begun, seconds), min(ended, seconds), piece))
        last = end
    moved = seconds if alone else vocabulary.seconds(tokens[last - 1])
    return parts, moved if 0 < moved <= seconds else seconds


def skip_silence(recording: Recording) -> None:
    """Move past windows in which nothing can be heard."""
    while not recording.heard and np.abs(recording.window).max() < FAINTEST:
        recording.at += len(recording.window)


def repeats(text: str) -> bool:
    """Whether the model went round in circles."""
    raw = text.encode()
    return len(raw) > 0 and len(raw) / len(zlib.compress(raw)) > REPEATING
