"""Price lists: exact to the pico-dollar, in force from their day, refused where unknown."""

from __future__ import annotations

from datetime import date

import pytest

from router.core.call import Usage
from router.core.money import PICO
from router.prices import listed
from router.prices.files import find, lists


def test_every_list_says_where_and_when_it_was_read():
    """Each file has a source that can be looked up, and prices from a day."""
    for entry in lists():
        assert entry.source.startswith("https://")
        assert entry.prices
        assert all(price.begins >= entry.read for price in entry.prices)


@pytest.mark.parametrize(
    ("api", "model", "usage", "dollars"),
    [
        ("elevenlabs", "eleven_multilingual_v2", Usage(credits=1000), "0.08"),
        ("google_speech", "latest_short", Usage(seconds=60.0), "0.024"),
        ("google_vision", "any", Usage(features=(("labels", 1000),)), "1.5"),
        ("google_vision", "any", Usage(features=(("objects", 2), ("text", 1))), "0.006"),
        ("openai", "tts-1", Usage(characters=1_000_000), "15"),
        ("openai", "tts-1-hd", Usage(characters=1), "0.00003"),
        ("openai", "whisper-1", Usage(seconds=60.0), "0.006"),
        (
            "openai",
            "gpt-4o-transcribe",
            Usage(1000, 100, audio_input_tokens=900),
            "0.00665",
        ),
    ],
)
def test_a_list_price_is_exact(api, model, usage, dollars):
    """Hand-computed amounts of the vendors' own units."""
    price = listed(api, model)
    assert price is not None
    assert price.lacks(usage) == ""
    assert price.of(usage) == round(float(dollars) * PICO)


def test_another_currency_needs_its_exchange():
    """Money is never estimated: without a rate the list is no price."""
    with pytest.raises(ValueError, match=r"in EUR; say what one costs"):
        listed("deepl", "pro")
    price = listed("deepl", "pro", {"EUR": 1.25})
    assert price.of(Usage(characters=1_000_000)) == 25 * PICO
    assert "EUR at 1.25 USD" in price.source
    assert listed("deepl", "free", {"EUR": 1.25}).free


def test_a_price_begins_on_its_day():
    """Before it there is none."""
    entry, price = find("google_speech", "x", date(2030, 1, 1))
    assert entry.currency == "USD"
    assert find("google_speech", "x", price.begins) is not None
    assert find("google_speech", "x", date(2020, 1, 1)) is None


def test_what_no_list_knows_has_no_price():
    """An unknown model, an unknown vendor, a feature beyond the list."""
    assert listed("openai", "no-such-model") is None
    assert listed("torchserve", "x") is None
    price = listed("google_vision", "x")
    assert price.lacks(Usage(features=(("handwriting", 1),))) == "feature handwriting"
    assert listed("openai", "tts-1").lacks(Usage(seconds=1.0)) == "seconds of audio"
