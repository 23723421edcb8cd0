"""Texts to vectors and label scores: batches sorted by length, pooling, normalising, softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.worker.engine import Encoder
from serving.worker.settings import Pooling
from serving.worker.wire import Refused

TINY = 1e-12


def pool(states: Any, lengths: Sequence[int], how: Pooling) -> Any:
    """One vector per row from `states` [rows, width, dimensions]; padding has no part in it."""
    if how == "cls":
        return states[:, 0]
    sizes = np.asarray(lengths)
    if how == "last":
        return states[np.arange(len(sizes)), sizes - 1]
    real = (np.arange(states.shape[1])[None, :] < sizes[:, None])[:, :, None]
    if how == "max":
        return np.where(real, states, -np.inf).max(axis=1)
    return np.where(real, states, 0.0).sum(axis=1) / sizes[:, None]


def normalise(vectors: Any) -> Any:
    """Vectors of length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), TINY)


def batches(rows: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Indices of `rows`, sorted by length and cut into batches, so that little is padding."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    return [order[at : at + most] for at in range(0, len(order), most)]


def encode_all(encoder: Encoder, rows: Sequence[Sequence[int]], most: int) -> Any:
    """Array of one vector per row, in the order of `rows`."""
    found: list[Any] = [None] * len(rows)
    for batch in batches(rows, most):
        for index, vector in zip(batch, encoder.encode([rows[i] for i in batch]), strict=True):
            found[index] = vector
    return np.asarray(found, dtype=np.float32)


def softmax(scores: Any) -> Any:
    """Shares that add up to one, along the last axis."""
    lifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return lifted / lifted.sum(axis=-1, keepdims=True)


def sigmoid(scores: Any) -> Any:
    """Each score on its own between 0 and 1."""
    return 1.0 / (1.0 + np.exp(-scores))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Labels with their scores, best first."""

    labels: list[str]
    scores: list[float]


def rank(labels: Sequence[str], scores: Any) -> Ranked:
    """`scores` is one number per label."""
    order = np.argsort(-scores, kind="stable")
    return Ranked([labels[i] for i in order], [float(scores[i]) for i in order])


def zero_shot(texts: Any, labels: Any, *, sharpness: float, multi: bool) -> Any:
    """Scores [texts, labels] from the likeness of unit vectors.

    Labels compete in a softmax over `sharpness` times the cosine. With `multi` each label stands
    alone: its likeness is set against the mean likeness of all labels of that text.
    """
    likeness = (texts @ labels.T) * sharpness
    if multi:
        centre = likeness.mean(axis=-1, keepdims=True) if likeness.shape[-1] > 1 else sharpness / 4
        return sigmoid(likeness - centre)
    return softmax(likeness)


def head_scores(
    logits: Any,
    own: Sequence[str],
    asked: Sequence[str] | None,
    *,
    multi: bool,
) -> tuple[list[str], Any]:
    """Labels and scores [texts, labels] of a model's own head, for all or some of its labels.

    Raises: Refused with `unsupported` for a label that the head was not trained on.
    """
    labels = list(own if asked is None else asked)
    unknown = [label for label in labels if label not in own]
    if unknown:
        known = ", ".join(own)
        message = f"This model was trained on the labels {known}; it does not know {unknown[0]!r}."
        raise Refused("unsupported", message)
    chosen = logits[:, [own.index(label) for label in labels]]
    return labels, sigmoid(chosen) if multi else softmax(chosen)
