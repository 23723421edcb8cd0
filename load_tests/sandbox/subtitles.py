"""SubRip (srt) and WebVTT (vtt): spans of text with their times."""

from collections.abc import Sequence

from load_tests.sandbox.hearing import Span


def srt(spans: Sequence[Span]) -> str:
    """Numbered blocks."""
    return "".join(
        f"{number}\n{_time(one.start, ',')} --> {_time(one.end, ',')}\n{one.text}\n\n"
        for number, one in enumerate(spans, 1)
    )


def vtt(spans: Sequence[Span]) -> str:
    """A head, then blocks."""
    blocks = [f"{_time(one.start, '.')} --> {_time(one.end, '.')}\n{one.text}\n\n" for one in spans]
    return "WEBVTT\n\n" + "".join(blocks)


def _time(seconds: float, point: str) -> str:
    whole = round(seconds * 1000)
    rest, thousandths = divmod(whole, 1000)
    minutes, second = divmod(rest, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{point}{thousandths:03d}"
