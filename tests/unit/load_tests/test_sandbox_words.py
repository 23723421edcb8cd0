"""Tokens, text, vectors and filled forms: deterministic, and consistent with each other."""

import base64
import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from load_tests.sandbox.filler import fill
from load_tests.sandbox.openai_limits import end
from load_tests.sandbox.text import Writer
from load_tests.sandbox.tokens import PrefixCache, count, pieces
from load_tests.sandbox.vectors import embed, packed

WRITER = Writer()


@given(st.text(max_size=3000))
def test_pieces_join_to_the_text_and_are_as_many_as_counted(text):
    parts = pieces(text)
    assert "".join(parts) == text.rstrip()
    assert len(parts) == count(text)


@given(st.text(max_size=200), st.integers(0, 3))
def test_an_answer_is_repeatable_and_counted_by_its_pieces(prompt, salt):
    parts = WRITER.write(prompt, salt)
    assert parts == WRITER.write(prompt, salt)
    assert len(parts) == count("".join(parts))


@given(st.text(max_size=50), st.integers(1, 100), st.sampled_from([None, ".", [" it", "the"]]))
def test_an_answer_ends_at_its_limit_or_before_its_stop(prompt, most, stop):
    parts, why = end(WRITER.write(prompt), stop, most)
    assert len(parts) <= most
    assert why in ("stop", "length")
    stops = [stop] if isinstance(stop, str) else stop or []
    assert not any(word in "".join(parts) for word in stops)


def test_the_answer_names_the_topic():
    assert "penguins" in "".join(WRITER.write("Tell me about penguins"))


def test_a_prefix_is_cached_in_steps_for_the_same_scope():
    cache = PrefixCache()
    long = "word " * 1400
    assert cache.cached("a", long, 1400) == 0
    assert cache.cached("a", long, 1400) == 1280
    assert cache.cached("a", long[: 5 * 1100] + "other " * 300, 1400) == 1024
    assert cache.cached("b", long, 1400) == 0
    assert cache.cached("a", "short", 1) == 0


@given(st.text(max_size=200), st.sampled_from([8, 64, 1536]))
def test_vectors_have_unit_length_and_are_repeatable(text, dimensions):
    vector = embed(text, dimensions)
    assert vector == embed(text, dimensions)
    length = math.hypot(*vector)
    assert math.isclose(length, 1.0, abs_tol=1e-9) or length == 0.0
    unpacked = struct.unpack(f"<{dimensions}f", base64.b64decode(packed(vector)))
    assert all(abs(a - b) < 1e-6 for a, b in zip(vector, unpacked, strict=True))


def test_forms_follow_references_bounds_and_choices():
    schema = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 4, "maxLength": 6},
            "one": {"anyOf": [{"const": 1}, {"type": "null"}]},
            "list": {"type": "array", "minItems": 2, "items": {"type": "boolean"}},
            "more": {"type": ["number", "null"], "exclusiveMinimum": 4},
            "tree": {"$ref": "#/$defs/node"},
        },
    }
    filled = fill(schema, "a long text")
    assert filled["name"] == "a long"
    assert (filled["one"], filled["list"], filled["more"]) == (1, [True, True], 5)
    assert "next" in filled["tree"]
