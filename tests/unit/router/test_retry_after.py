"""When a backend wants to be asked again, as its headers say."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.retry_after import duration, retry_after

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after-ms": b"250", b"retry-after": b"1"}, 0.25),
        ({b"retry-after": b"-3"}, 0.0),
        ({b"retry-after": formatdate(NOW + 90, usegmt=True).encode()}, 90.0),
        ({b"retry-after": formatdate(NOW - 90, usegmt=True).encode()}, 0.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"x-ratelimit-reset-tokens": b"6m0s"}, None),
        ({b"x-ratelimit-remaining-tokens": b"5", b"x-ratelimit-reset-tokens": b"6m0s"}, None),
        ({b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b"6m0s"}, 360.0),
        (
            {
                b"x-ratelimit-remaining-requests": b"0",
                b"x-ratelimit-reset-requests": b"120ms",
                b"x-ratelimit-remaining-tokens": b"0",
                b"x-ratelimit-reset-tokens": b"1.5s",
            },
            1.5,
        ),
        (
            {
                b"retry-after": b"2",
                b"x-ratelimit-remaining-tokens": b"0",
                b"x-ratelimit-reset-tokens": b"9s",
            },
            2.0,
        ),
    ],
)
def test_the_moment_is_read(headers, seconds):
    """Seconds, milliseconds, dates and resets of used-up limits; what cannot be read says nothing."""
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h2m3.5s", 3723.5), ("2d", 172800.0), ("12", 12.0), ("", None), ("6 m", None), ("s", None)],
)
def test_durations(text, seconds):
    """As OpenAI writes them."""
    assert duration(text) == seconds


@given(st.binary(max_size=40))
def test_nothing_breaks_it(value):
    """Any bytes give seconds from 0 up, or None."""
    found = retry_after({b"retry-after": value, b"x-ratelimit-remaining-tokens": b"0",
                         b"x-ratelimit-reset-tokens": value}, NOW)  # fmt: skip
    assert found is None or found >= 0.0
