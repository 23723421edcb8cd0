"""A CSV of text and label, checked line by line, and cut into training and held-out parts."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import TableError

FEWEST = 5  # rows of a label; fewer teach nothing and leave nothing to hold out
SHOWN = 8  # problems told at once
COLUMNS = ("text", "label")


@dataclass(frozen=True, slots=True)
class Row:
    """One example; `line` is where it stands in the file."""

    text: str
    label: str
    line: int


def read_table(file: Path) -> list[Row]:
    """The rows, each text once. Other columns than `text` and `label` are not read.

    Raises: TableError with one line for each problem, by line number.
    """
    rows, problems = _read(file)
    first: dict[str, Row] = {}
    for row in rows:
        known = first.setdefault(row.text, row)
        if known.label != row.label:
            problems.append(
                f"line {row.line}: the same text has the label {row.label!r} here "
                f"and {known.label!r} in line {known.line}"
            )
    kept = list(first.values())
    if not problems:
        problems = _counts(kept)
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        lines = "\n".join(f"{file}: {problem}" for problem in [*problems[:SHOWN], *more])
        raise TableError(f"{lines}\nCorrect the file; nothing was trained.")
    return kept


def _read(file: Path) -> tuple[list[Row], list[str]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TableError(f"Cannot read {file}: {error}.") from error
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise TableError(f"{file}: line {line}: not UTF-8. Save the file as UTF-8.") from error
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in COLUMNS if header.count(name) != 1]
        if missing:
            return [], [f"line 1: the header must name the column {missing[0]!r} once"]
        columns = (header.index("text"), header.index("label"))
        begun = reader.line_num + 1
        for cells in reader:
            line, begun = begun, reader.line_num + 1
            if not cells:
                continue  # an empty line
            if len(cells) != len(header):
                problems.append(f"line {line}: {len(cells)} cells, the header has {len(header)}")
                continue
            found = Row(cells[columns[0]].strip(), cells[columns[1]].strip(), line)
            empty = [name for name in COLUMNS if not getattr(found, name)]
            if empty:
                problems.append(f"line {line}: the {empty[0]} is empty")
            else:
                rows.append(found)
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}")
    return rows, problems


def _counts(rows: Sequence[Row]) -> list[str]:
    counts: dict[str, list[Row]] = {}
    for row in rows:
        counts.setdefault(row.label, []).append(row)
    if len(counts) < 2:
        return [f"there must be two labels at least; it has {', '.join(counts) or 'no rows'}"]
    return [
        f"line {found[0].line}: the label {label!r} has {len(found)} different texts, "
        f"{FEWEST} are the least"
        for label, found in counts.items()
        if len(found) < FEWEST
    ]


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows; of each label the same share, at least one on each side."""
    dice = random.Random(seed)  # noqa: S311 - it deals rows out, it keeps no secret
    train: list[Row] = []
    held: list[Row] = []
    for label in sorted({row.label for row in rows}):
        own = [row for row in rows if row.label == label]
        dice.shuffle(own)
        out = min(len(own) - 1, max(1, round(len(own) * share)))
        held += own[:out]
        train += own[out:]
    dice.shuffle(train)
    return train, held


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of held-out texts; `commonest` is what always naming the commonest label would get."""

    texts: int
    accuracy: float
    macro_f1: float
    commonest: float


def score(truth: Sequence[str], guesses: Sequence[str]) -> Score:
    """Accuracy, and the mean over labels of F1 (harmonic mean of precision and recall)."""
    labels = sorted(set(truth))
    each = []
    for label in labels:
        hits = sum(t == g == label for t, g in zip(truth, guesses, strict=True))
        said, are = list(guesses).count(label), list(truth).count(label)
        each.append(2 * hits / (said + are) if said + are else 0.0)
    right = sum(t == g for t, g in zip(truth, guesses, strict=True))
    most = max(list(truth).count(label) for label in labels)
    many = len(truth)
    return Score(many, right / many, sum(each) / len(each), most / many)
