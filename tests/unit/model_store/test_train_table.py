"""Tables to train on: what is refused by line, how rows are dealt out, how guesses are scored."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import TableError
from model_store.train.table import FEWEST, Row, read_table, score, split

GOOD = "".join(f"good thing {n},good\nbad thing {n},bad\n" for n in range(FEWEST))


def said(tmp_path: Path, content: str | bytes) -> str:
    file = tmp_path / "t.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TableError) as caught:
        read_table(file)
    return str(caught.value).replace(str(file), "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the header must name the column 'text' once"),
        ("text,sentiment\n", "line 1: the header must name the column 'label' once"),
        ("text,text,label\n", "line 1: the header must name the column 'text' once"),
        (f"text,label\n{GOOD}lonely\n", "line 12: 1 cells, the header has 2"),
        (f"text,label\n{GOOD}one,two,three\n", "line 12: 3 cells, the header has 2"),
        (f"text,label\n{GOOD}  ,good\n", "line 12: the text is empty"),
        (f"text,label\n{GOOD}words,\n", "line 12: the label is empty"),
        (f'text,label\n"two\nlines",\n{GOOD}', "line 2: the label is empty"),
        (
            f"text,label\n{GOOD}good thing 0,bad\n",
            "line 12: the same text has the label 'bad' here and 'good' in line 2",
        ),
        (f"text,label\n{GOOD}rare,odd\n", "line 12: the label 'odd' has 1 different texts"),
        ("text,label\na,b\n", "there must be two labels at least; it has b"),
        (f'text,label\n{GOOD}"open,good\n', "line 12: unexpected end of data"),
        (b"text,label\nfine,good\n\xff,bad\n", "line 3: not UTF-8"),
    ],
)
def test_bad_tables_are_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    """One case for each way to go wrong."""
    assert f"t.csv: {message}" in said(tmp_path, content)


def test_many_problems_are_told_at_once(tmp_path: Path) -> None:
    """The first few by line, and how many more."""
    message = said(tmp_path, "text,label\n" + ",x\n" * 20)
    assert message.count("the text is empty") == 8
    assert "and 12 more" in message


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    """The file is named."""
    with pytest.raises(TableError, match="Cannot read"):
        read_table(tmp_path / "none.csv")


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(st.dictionaries(CELL.map(str.strip), st.sampled_from(["a", "b, c", '"d"']), max_size=60))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, table: dict) -> None:
    """Whatever the texts; other columns and a byte order mark do not matter."""
    file = tmp_path_factory.mktemp("csv") / "t.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "Label", "TEXT"])
        for at, (text, label) in enumerate(table.items()):
            writer.writerow([at, label, text])
    counts = [list(table.values()).count(label) for label in set(table.values())]
    if len(counts) < 2 or min(counts) < FEWEST:
        with pytest.raises(TableError):
            read_table(file)
        return
    assert {row.text: row.label for row in read_table(file)} == table


LABELS = st.lists(st.sampled_from("abc"), min_size=2, max_size=80)


@given(LABELS, st.floats(0.01, 0.99), st.integers())
def test_each_label_is_on_both_sides(labels: list[str], share: float, seed: int) -> None:
    """No row is lost or doubled, the share holds for each label, a seed decides everything."""
    rows = [Row(f"text {at}", label, at) for at, label in enumerate(labels)]
    train, held = split(rows, share, seed)
    assert sorted([*train, *held], key=lambda row: row.line) == rows
    assert split(rows, share, seed) == (train, held)
    for label in set(labels):
        size, out = labels.count(label), sum(row.label == label for row in held)
        assert out == min(size - 1, max(1, round(size * share)))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1))
def test_scores_are_those_of_the_definition(pairs: list[tuple[str, str]]) -> None:
    """Accuracy and macro F1 by precision and recall, counted here in another way."""
    truth, guesses = [t for t, _ in pairs], [g for _, g in pairs]
    found = score(truth, guesses)
    assert found.accuracy == pytest.approx(sum(t == g for t, g in pairs) / len(pairs))
    each = []
    for label in sorted(set(truth)):
        hits = pairs.count((label, label))
        precision = hits / guesses.count(label) if label in guesses else 0.0
        recall = hits / truth.count(label)
        both = precision + recall
        each.append(2 * precision * recall / both if both else 0.0)
    assert found.macro_f1 == pytest.approx(sum(each) / len(each))
    assert score(truth, truth).accuracy == score(truth, truth).macro_f1 == 1.0
