"""The threads of an engine, chosen by trial; and the lanes of an encoder."""

import logging

import numpy as np
import pytest

from serving.worker import ct2_encoder, tune
from serving.worker.prompts import token_rows
from serving.worker.quiet import quiet


class Clock:
    """Time passes only inside a trial."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _trials(clock, seconds):
    def trial(key):
        def run():
            clock.now += seconds[key].pop(0)

        return run

    return {key: trial(key) for key in seconds}


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({1: [9, 2, 2, 2], 2: [9, 3, 3, 3]}, 1),
        ({1: [9, 3, 3, 3], 2: [9, 2, 2, 2]}, 2),
        # One quiet turn counts, not those in which somebody else had the core.
        ({1: [9, 8, 8, 1], 2: [9, 2, 2, 2]}, 1),
        ({1: [9, 2, 2, 2], 2: [1, 2, 2, 2]}, 1),
    ],
)
def test_the_quickest_of_some_turns_is_taken(seconds, found):
    """The first turn of each warms up and does not count."""
    clock = Clock()
    assert tune.quickest(_trials(clock, seconds), clock=clock) == found


def test_engines_are_tried_with_one_thread_and_with_all():
    """The engine that is returned is the one that won."""
    loaded, slow = [], {1: 0.004, 4: 0.0}

    def load(intra):
        loaded.append(intra)
        return intra

    def trial(engine):
        tune.time.sleep(slow[engine])

    assert tune.choose_intra(load, trial, 4, fixed=False) == (4, 4)
    assert sorted(loaded) == [1, 4]


@pytest.mark.parametrize(("threads", "fixed"), [(4, True), (1, False), (1, True)])
def test_without_a_choice_nothing_is_tried(threads, fixed):
    """A catalog entry that says its threads starts without a trial."""

    def trial(engine):
        pytest.fail("tried")

    assert tune.choose_intra(lambda intra: intra, trial, threads, fixed=fixed) == (threads, threads)


class Echo:
    """Its state of a row is the row's first id."""

    def __init__(self):
        self.parts = []

    def forward_batch(self, rows):
        self.parts.append(len(rows))
        width = max(map(len, rows))
        states = np.zeros((len(rows), width, 1), dtype=np.float32)
        for at, row in enumerate(rows):
            states[at, : len(row), 0] = row[0]
        return type("Out", (), {"last_hidden_state": _Storage(states)})


class _Storage:
    device = "cpu"

    def __init__(self, states):
        self.__array_interface__ = states.__array_interface__
        self._kept = states


@pytest.mark.parametrize(
    ("rows", "lanes", "parts"), [(5, 2, [3, 2]), (1, 2, [1]), (4, 1, [4]), (2, 4, [1, 1])]
)
def test_lanes_share_a_batch_and_keep_its_order(rows, lanes, parts):
    """As many parts as lanes, put together in the order of the rows."""
    engine = Echo()
    encoder = ct2_encoder.Ct2Encoder(engine, pooling="mean", context=99, lanes=lanes)
    found = encoder.encode([[n + 1] * (n + 1) for n in range(rows)])
    assert found[:, 0].tolist() == [n + 1 for n in range(rows)]
    assert sorted(engine.parts, reverse=True) == parts


class Slow:
    is_fast = False

    def __call__(self, texts):
        return {"input_ids": [[len(text)] for text in texts]}


def test_a_tokenizer_without_a_fast_side_is_asked_itself():
    """Marian and others have none."""
    assert token_rows(Slow(), ["a", "abc"]) == [[1], [3]]


def test_quiet_keeps_our_own_word():
    """Warnings of all, what happens of ours."""
    before = logging.getLogger().level, logging.getLogger("serving").level
    try:
        quiet()
        assert logging.getLogger("serving.worker.tune").isEnabledFor(logging.INFO)
        assert not logging.getLogger("ts.service").isEnabledFor(logging.INFO)
        assert logging.getLogger("ts.service").isEnabledFor(logging.WARNING)
    finally:
        logging.getLogger().setLevel(before[0])
        logging.getLogger("serving").setLevel(before[1])
