"""The closed language: what belongs to it, its German, its pieces, and the net that learns it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.train import closed
from model_store.train.closed import PATTERN, Teacher, cardinal, jahr, ordinal
from model_store.train.dates import LONGEST, Lesson, held_out, make_tokenizer


def number(words: list[str]) -> Iterator[int]:
    """Every value below 1,000,000 that the words may have; written without looking at PATTERN."""
    tens = {word: 10 * at for at, word in enumerate(closed.TENS, 2)}
    ones = {word: at for at, word in enumerate(closed.ONES) if at}

    def below_hundred(part: list[str]) -> Iterator[int]:
        if len(part) == 1 and part[0] in ones | tens:
            yield (ones | tens)[part[0]]
        if len(part) == 2 and part[0] in tens and ones.get(part[1], 10) < 10:
            yield tens[part[0]] + ones[part[1]]

    def rest(part: list[str]) -> Iterator[int]:
        yield from below_hundred(part[1:] if part[:1] == ["and"] else part)

    def below_thousand(part: list[str], tail: bool = False) -> Iterator[int]:
        yield from rest(part) if tail else below_hundred(part)
        if len(part) > 1 and part[1] == "hundred" and ones.get(part[0], 10) < 10:
            yield from (100 * ones[part[0]] + n for n in ([0] if not part[2:] else rest(part[2:])))

    if words == ["zero"]:
        yield 0
    yield from below_thousand(words)
    if "thousand" in words:
        at = words.index("thousand")
        tail = words[at + 1 :]
        for head in below_thousand(words[:at]):
            yield from (1000 * head + n for n in ([0] if not tail else below_thousand(tail, True)))


@given(st.integers(0, 10**6))
@settings(max_examples=150)
def test_the_teacher_speaks_the_language(seed: int) -> None:
    """All it says is accepted, and cut into few known pieces that make the sentence again."""
    teacher = Teacher(seed)
    for _ in range(5):
        pair = teacher.draw()
        assert re.fullmatch(PATTERN, pair.english)
        for text in (pair.english, pair.german):
            ids = TOKENS(text)["input_ids"]
            assert TOKENS.decode(ids, skip_special_tokens=True) == text
            assert TOKENS.unk_token_id not in ids
            assert len(ids) < LONGEST // 2


TOKENS = make_tokenizer()


@given(st.from_regex(re.compile(PATTERN), fullmatch=True))
@settings(max_examples=300)
def test_what_is_accepted_means_something(sentence: str) -> None:
    """A number has exactly one value by a parser of its own; a date has a month and a day."""
    words = re.split(r"[ -]", sentence.replace(",", ""))
    months = [word for word in words if word in closed.MONTHS]
    if not months:
        assert len(set(number(words))) == 1
        return
    assert len(months) == 1
    assert any(word in {*closed.FIRSTS, "thirtieth"} for word in words)


WORDS = st.sampled_from(
    [*closed.ONES, *closed.TENS, "hundred", "thousand", "and", "first", "march", "the", "of", "oh"]
)


@given(st.lists(WORDS, min_size=1, max_size=7))
@settings(max_examples=400)
def test_numbers_are_accepted_if_and_only_if_they_parse(words: list[str]) -> None:
    """Random words: the expression and the parser agree."""
    sentence = " ".join(words)
    if any(word in {"first", "march", "the", "of", "oh"} for word in words):
        assert not list(number(words))
        return
    assert bool(re.fullmatch(PATTERN, sentence)) == bool(list(number(words)))


@pytest.mark.parametrize(
    "sentence",
    [
        "", "hello", "one million", "five and", "hundred", "twenty eleven hundred", "march",
        "the thirty-first of april", "february thirtieth", "the third march of may", "Four",
        "march third nineteen", "one two", "zero thousand", "the twenty-tenth of may", "four ",
        "thirteen fourteen", "monday", "monday, four", "twenty-first",
    ],
)  # fmt: skip
def test_neighbours_of_the_language_are_outside(sentence: str) -> None:
    """Nearly right is not right."""
    assert not re.fullmatch(PATTERN, sentence)


@pytest.mark.parametrize(
    ("value", "german"),
    [
        (0, "null"), (1, "eins"), (16, "sechzehn"), (17, "siebzehn"), (21, "einundzwanzig"),
        (30, "dreißig"), (66, "sechsundsechzig"), (70, "siebzig"), (100, "einhundert"),
        (101, "einhunderteins"), (111, "einhundertelf"), (1000, "eintausend"),
        (1001, "eintausendeins"), (21_000, "einundzwanzigtausend"),
        (101_000, "einhunderteintausend"), (234_567, "zweihundertvierunddreißigtausendfünfhundertsiebenundsechzig"),
        (999_999, "neunhundertneunundneunzigtausendneunhundertneunundneunzig"),
    ],
)  # fmt: skip
def test_german_numbers(value: int, german: str) -> None:
    """Forms from a grammar, written by hand."""
    assert cardinal(value) == german


def test_german_numbers_differ() -> None:
    """No two values share a word (a bijection has no typing error that repeats a word)."""
    assert len({cardinal(value) for value in range(100_000)}) == 100_000


def test_german_days_and_years() -> None:
    """The irregular days, and hundreds up to 1999."""
    days = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte", 12: "zwölfte", 20: "zwanzigste"}
    assert {day: ordinal(day) for day in days} == days
    assert ordinal(31) == "einunddreißigste"
    assert jahr(1905) == "neunzehnhundertfünf"
    assert jahr(2000) == "zweitausend"
    assert jahr(1100) == "elfhundert"


def test_held_out_sentences_are_never_learned() -> None:
    """What the score is made of does not occur in training, and is about a twentieth."""
    lesson = Lesson("small", 0, 1)
    decode = lesson.tokenizer.backend_tokenizer.decode
    learned = {decode(source) for source, _ in lesson._draw(3000)}
    teacher = Teacher(5)
    drawn = [teacher.draw() for _ in range(3000)]
    kept = {pair.english for pair in drawn if held_out(pair)}
    assert 50 < len(kept) < 250
    assert not learned & kept


def test_a_lesson_is_repeatable_and_lowers_the_loss(tmp_path: Path) -> None:
    """Two runs of one seed agree, another differs; the folder holds what the worker needs."""
    import torch

    torch.set_num_threads(1)
    shape = {"d_model": 32, "dim_feedforward": 64, "nhead": 4}

    def losses(seed: int) -> tuple[list[float], Lesson]:
        lesson = Lesson("small", seed, 20, num_encoder_layers=1, num_decoder_layers=1, **shape)
        return list(lesson.steps()), lesson

    one, lesson = losses(1)
    two, _ = losses(1)
    assert one == pytest.approx(two, rel=1e-4)
    assert losses(2)[0] != pytest.approx(one, rel=1e-4)
    assert one[-1] < 0.95 * one[0]
    score = lesson.score(40)
    assert score.sentences == 40
    lesson.save(tmp_path, score)
    assert {"config.json", "domain.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in tmp_path.iterdir()
    }
    said = json.loads((tmp_path / "training.json").read_text())
    assert said["held_out_exact_match"] == score.exact
    assert said["steps"] == 20
