"""Answers of both versions: read into the hub, and written from it.

A confidence of 0 is no confidence: in protobuf it is what stands where nothing was set. Transcripts
follow one another without a separator; they bring their own spaces.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from router.apis.google_vision.status import duration, seconds
from router.core.call import Usage
from router.core.task import Segment, TranscribeRequest, TranscribeResult, Word

from .forms import tidy


class _Word(msgspec.Struct, rename="camel"):
    word: str = ""
    start_time: str = ""
    end_time: str = ""
    start_offset: str = ""
    end_offset: str = ""
    confidence: float = 0.0


class _Alternative(msgspec.Struct):
    transcript: str = ""
    confidence: float = 0.0
    words: list[_Word] = []


class _Result(msgspec.Struct, rename="camel"):
    alternatives: list[_Alternative] = []
    language_code: str = ""
    result_end_time: str = ""
    result_end_offset: str = ""


class _Metadata(msgspec.Struct, rename="camel"):
    total_billed_duration: str = ""


class Answer(msgspec.Struct, rename="camel"):
    """A `RecognizeResponse` of either version."""

    results: list[_Result] = []
    total_billed_time: str = ""
    metadata: _Metadata | None = None


def billed(answer: Answer, request: TranscribeRequest) -> Usage:
    """The seconds that were billed, empty answers too."""
    said = answer.total_billed_time
    if answer.metadata is not None:
        said = said or answer.metadata.total_billed_duration
    given = seconds(said)
    return most(request) if given is None else Usage(seconds=given)


def most(request: TranscribeRequest) -> Usage:
    """The seconds that may be billed: each channel's, rounded up."""
    return Usage(seconds=float(ceil(request.seconds) * max(request.channels, 1)))


def heard(answer: Answer, request: TranscribeRequest) -> TranscribeResult:
    """What was said."""
    spoken = [(r, r.alternatives[0]) for r in answer.results if r.alternatives]
    scores = [a.confidence for _, a in spoken]
    words, segments, last = list[Word](), list[Segment](), 0.0
    for result, best in spoken:
        mine = [_word(word) for word in best.words]
        end = seconds(result.result_end_time or result.result_end_offset)
        start = mine[0].start if mine else last
        last = max(start, mine[-1].end if mine else end or last)
        words += mine
        segments.append(Segment(start=start, end=last, text=best.transcript.strip()))
    return TranscribeResult(
        text="".join(a.transcript for _, a in spoken).strip(),
        language=next((tidy(r.language_code) for r in answer.results if r.language_code), None),
        seconds=request.seconds,
        segments=tuple(segments) if request.timestamps != "none" else (),
        words=tuple(words) if request.timestamps == "word" else (),
        score=(scores[0] or None) if len(scores) == 1 else None,
    )


def _word(word: _Word) -> Word:
    start = seconds(word.start_time or word.start_offset) or 0.0
    end = seconds(word.end_time or word.end_offset) or start
    return Word(start=start, end=max(start, end), text=word.word, score=word.confidence or None)


def written(result: TranscribeResult, usage: Usage | None, *, second: bool) -> dict[str, Any]:
    """The hub's result as a response, of the *second* version or the first."""
    said: dict[str, Any] = {}
    if result.text:
        said["results"] = [_result(result, second=second)]
    if usage is not None and usage.seconds:
        total = duration(usage.seconds)
        said |= {"metadata": {"totalBilledDuration": total}} if second else {}
        said |= {} if second else {"totalBilledTime": total}
    return said


def _result(result: TranscribeResult, *, second: bool) -> dict[str, Any]:
    best: dict[str, Any] = {"transcript": result.text}
    if result.score:
        best["confidence"] = result.score
    if result.words:
        best["words"] = [_timed(word, second=second) for word in result.words]
    end = result.seconds
    if result.words or result.segments:
        end = (result.words or result.segments)[-1].end
    said: dict[str, Any] = {
        "alternatives": [best],
        "resultEndOffset" if second else "resultEndTime": duration(end),
    }
    if result.language:
        said["languageCode"] = result.language if second else result.language.lower()
    return said


def _timed(word: Word, *, second: bool) -> dict[str, Any]:
    first, last = ("startOffset", "endOffset") if second else ("startTime", "endTime")
    said: dict[str, Any] = {
        first: duration(word.start),
        last: duration(word.end),
        "word": word.text,
    }
    return said | ({"confidence": word.score} if word.score else {})
