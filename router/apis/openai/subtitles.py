"""Segments as subtitle files: SubRip (srt) and WebVTT.

Source: https://www.w3.org/TR/webvtt1/ (4.1 file structure); SubRip as its own tool writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.core.task import Segment


def srt(segments: Sequence[Segment]) -> str:
    """Numbered cues, times with a comma."""
    cues = [
        f"{index}\n{_time(s.start, ',')} --> {_time(s.end, ',')}\n{_lines(s.text, '->')}\n"
        for index, s in enumerate(segments, 1)
    ]
    return "\n".join(cues) + "\n"


def vtt(segments: Sequence[Segment]) -> str:
    """Cues after the head line, times with a point."""
    cues = [
        f"{_time(s.start, '.')} --> {_time(s.end, '.')}\n{_lines(_safe(s.text), '--&gt;')}\n"
        for s in segments
    ]
    return "WEBVTT\n\n" + "\n".join(cues) + "\n"


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _lines(text: str, arrow: str) -> str:
    """An empty line would end the cue, and an arrow begin another one."""
    lines = (line.strip() for line in text.replace("-->", arrow).splitlines())
    return "\n".join(line for line in lines if line)


def _time(seconds: float, point: str) -> str:
    millis = round(seconds * 1000)
    whole, millis = divmod(millis, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{millis:03d}"
