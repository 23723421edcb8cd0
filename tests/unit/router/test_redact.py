"""What vendors say, without the key and without what was asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.core.redact import CUT, KEY, RUN, without_asked, without_key, without_key_bytes

SECRET = "sk-live-0123456789"


@given(st.text(), st.text())
def test_no_key_is_left(before: str, after: str):
    """Wherever it stands, and also without the word Bearer before it."""
    said = f"{before}{SECRET}{after}"
    for secret in (SECRET, f"Bearer {SECRET}"):
        assert SECRET not in without_key(said, secret)
        assert SECRET.encode() not in without_key_bytes(said.encode("utf-8", "replace"), secret)
    assert KEY in without_key(said, SECRET)


def test_a_placeholder_is_no_secret():
    """`none` is a word, and an unset key is nothing."""
    assert without_key("none was found", "none") == "none was found"
    assert without_key("all is well", "") == "all is well"


@given(st.text(min_size=RUN), st.text(), st.text())
def test_no_long_quotation_is_left(asked: str, before: str, after: str):
    """Of what a client asked no run of RUN characters is kept."""
    kept = without_asked(f"{before}{asked}{after}", [asked.encode("utf-8", "replace")])
    asked = asked.encode("utf-8", "replace").decode()
    runs = {asked[at : at + RUN] for at in range(len(asked) - RUN + 1)}
    left = {kept[at : at + RUN] for at in range(len(kept) - RUN + 1)}
    assert not runs & left or CUT in "".join(runs & left)


def test_the_rest_of_a_sentence_stays():
    """What the vendor says itself is read as it was said."""
    said = 'cannot parse "my secret plans for the harbour": try again'
    kept = without_asked(said, [b'[{"content":"my secret plans for the harbour"}]'])
    assert kept == f"cannot parse {CUT}: try again"
    assert without_asked(said, [b'"gpt-4o-mini"']) == said
