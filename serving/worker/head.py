"""A small trained head over a bare encoder: a linear layer from embeddings to labels.

`model/head.json` is `{"labels": [...], "weight": [[...], ...], "bias": [...], "normalize": true}`,
`weight` with one row for each label. The encoder under it may be any engine's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from serving.worker.encoding import normalise
from serving.worker.engine import Encoder


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `head.json` holds."""

    labels: list[str]
    weight: list[list[float]]
    bias: list[float]
    normalize: bool = True


class HeadedEncoder:
    """An encoder whose answers are logits of the head's labels."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        """Raises: ValueError where the head's numbers do not belong together."""
        import numpy as np  # noqa: PLC0415

        self.context = encoder.context
        self.labels = tuple(head.labels)
        self._encoder, self._normalize = encoder, head.normalize
        widths = {len(row) for row in head.weight}
        if not len(head.labels) == len(head.weight) == len(head.bias) or len(widths) != 1:
            message = "head.json: labels, weight and bias are of different lengths"
            raise ValueError(message)
        self._weight = np.asarray(head.weight, dtype=np.float32).T
        self._bias = np.asarray(head.bias, dtype=np.float32)

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        """Array [rows, labels], float32."""
        vectors = self._encoder.encode(rows)
        return (normalise(vectors) if self._normalize else vectors) @ self._weight + self._bias


def with_head(encoder: Encoder, model_dir: Path) -> Encoder:
    """The encoder under the head of its folder, or as it is where there is none."""
    file = model_dir / "head.json"
    if not file.exists():
        return encoder
    try:
        head = msgspec.json.decode(file.read_bytes(), type=Head)
    except msgspec.MsgspecError as error:
        message = f"head.json: {error}"
        raise ValueError(message) from error
    return HeadedEncoder(encoder, head)
