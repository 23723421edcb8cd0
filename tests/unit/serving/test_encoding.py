"""Order, padding, pooling, scores."""

import numpy as np
import pytest

from serving.worker.encoding import (
    batches,
    encode_all,
    head_scores,
    normalise,
    pool,
    rank,
    zero_shot,
)
from serving.worker.wire import Refused


def test_batches_are_sorted_by_length_and_cover_all():
    """Little padding, nothing lost."""
    rows = [[0] * n for n in (5, 1, 9, 2, 7)]
    assert batches(rows, 2) == [[1, 3], [0, 4], [2]]


class Lengths:
    context, labels = 100, ()

    def encode(self, rows):
        return np.asarray([[len(row), sum(row)] for row in rows], dtype=np.float32)


def test_answers_come_back_in_the_order_of_the_texts():
    """Whatever order the batches had."""
    rows = [[1] * 5, [2], [3] * 9]
    assert encode_all(Lengths(), rows, 2).tolist() == [[5, 5], [1, 2], [9, 27]]


def test_padding_has_no_part_in_pooling():
    """The padded place holds a huge number on purpose."""
    states = np.asarray([[[1.0], [3.0], [1e6]], [[2.0], [4.0], [6.0]]])
    assert pool(states, [2, 3], "mean").tolist() == [[2.0], [4.0]]
    assert pool(states, [2, 3], "max").tolist() == [[3.0], [6.0]]
    assert pool(states, [2, 3], "last").tolist() == [[3.0], [6.0]]
    assert pool(states, [2, 3], "cls").tolist() == [[1.0], [2.0]]


def test_normalised_vectors_have_length_one():
    """A zero vector stays zero instead of becoming NaN."""
    out = normalise(np.asarray([[3.0, 4.0], [0.0, 0.0]]))
    assert np.allclose(out, [[0.6, 0.8], [0, 0]])


def test_zero_shot_takes_the_nearest_label():
    """Scores add up to one, or stand alone."""
    texts = np.asarray([[1.0, 0.0]])
    labels = np.asarray([[0.9, 0.1], [0.1, 0.9]])
    one = zero_shot(texts, labels, sharpness=10, multi=False)[0]
    many = zero_shot(texts, labels, sharpness=10, multi=True)[0]
    assert one[0] > 0.9
    assert one.sum() == pytest.approx(1)
    assert many[0] > 0.5 > many[1]
    assert rank(["a", "b"], one).labels == ["a", "b"]


def test_a_head_serves_some_of_its_own_labels_only():
    """A label that it was not trained on is refused, not guessed."""
    logits = np.asarray([[0.0, 5.0, 1.0]])
    labels, scores = head_scores(logits, ("x", "y", "z"), ["z", "y"], multi=False)
    assert labels == ["z", "y"]
    assert scores[0, 1] > 0.9
    with pytest.raises(Refused):
        head_scores(logits, ("x", "y", "z"), ["q"], multi=False)
