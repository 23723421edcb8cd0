"""Text leaves whole: characters, stop strings."""

from hypothesis import given
from hypothesis import strategies as st

from serving.worker.pieces import Detokenizer, Stops


def decode_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40).filter(lambda t: "\ufffd" not in t))
def test_pieces_join_to_the_text_and_hold_no_broken_character(text):
    """One token per byte is the worst case of a byte-level tokenizer."""
    out = Detokenizer(decode_bytes)
    pieces = [out.push(byte) for byte in text.encode()]
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) + out.flush() == text


def test_a_cut_character_is_dropped_at_the_end():
    """max_tokens may end inside a character."""
    out = Detokenizer(decode_bytes)
    pieces = [out.push(byte) for byte in "a🙂".encode()[:-1]]
    assert "".join(pieces) + out.flush() == "a"


def test_bytes_that_never_become_a_character_do_not_stop_the_text():
    """A model may emit rubbish; later text must still come."""
    out = Detokenizer(decode_bytes)
    pieces = [out.push(byte) for byte in b"\xff\xff\xff\xffok"]
    assert "".join(pieces).endswith("ok")


@given(
    st.lists(st.text("abX", max_size=3)),
    st.lists(st.text("abX", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_stops_cut_where_the_whole_text_would_be_cut(pieces, stops):
    """However the text is cut into pieces, the result is that of the first stop in it."""
    scan, out = Stops(stops), ""
    for piece in pieces:
        out += scan.push(piece)
        if scan.hit:
            break
    out += "" if scan.hit else scan.flush()
    whole = "".join(pieces)
    found = [whole.find(stop) for stop in stops if stop in whole]
    assert scan.hit == bool(found)
    if len(stops) == 1:
        assert out == (whole[: min(found)] if found else whole)
    assert whole.startswith(out)


def test_text_that_cannot_start_a_stop_is_not_held_back():
    """Streaming must not wait for nothing."""
    scan = Stops(["END"])
    assert scan.push("hello E") == "hello "
    assert scan.push("x") == "Ex"
