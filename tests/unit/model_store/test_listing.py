"""The table of models: readable in a terminal of any width."""

from hypothesis import given
from hypothesis import strategies as st

from model_store.listing import COLUMNS, FIRST, GAP, _kept

CELL = st.text("abc", max_size=20)
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, CELL)), max_size=5)


def width(title: str, rows: list[dict[str, str]]) -> int:
    return max([len(title), *(len(row[title]) for row in rows)]) + GAP


@given(ROWS, st.integers(0, 300))
def test_no_cell_is_broken_and_the_most_important_stay(rows, room):
    """What is shown fits, in the table's order; what is left out is less important or too wide."""
    kept = _kept(rows, room)
    assert kept == [title for title in COLUMNS if title in kept]
    assert FIRST[0] in kept
    used = sum(width(title, rows) for title in kept)
    assert used <= room or kept == [FIRST[0]]
    ranked = [*FIRST, *(title for title in COLUMNS if title not in FIRST)]
    assert set(kept) == set(ranked[: len(kept)])
    if len(kept) < len(ranked):
        assert used + width(ranked[len(kept)], rows) > room
