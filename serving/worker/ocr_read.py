"""What lines of text say: PP-OCRv4's direction classifier and recogniser (CTC).

Source: rapidocr-onnxruntime 1.4.4 (Apache-2.0), whose models and numbers these are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.worker.ocr_detect import sides

HEIGHT = 48
TURNED_WIDTH, SHORTEST_WIDTH = 192, 320
TURNED = 0.9  # likelihood from which a line is upside down
UPRIGHT = 1.5  # times as high as wide: the line runs downwards
BATCH = 8


@dataclass(frozen=True, slots=True)
class Line:
    """A line's text, and the mean likelihood of its characters."""

    text: str
    score: float


class TextReader:
    """Reads lines that were cut out of images."""

    def __init__(self, direction: Any, recogniser: Any, cv2: Any) -> None:
        """Sessions of ONNX Runtime; the recogniser brings its own list of characters."""
        self._direction, self._recogniser, self._cv2 = direction, recogniser, cv2
        known = recogniser.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._characters = ["", *known, " "]

    def cut(self, image: Any, box: Any) -> Any:
        """The line in a box of four corners, level; one that runs downwards is laid down."""
        width, height = (max(1, round(side)) for side in sides(box))
        goal = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = self._cv2.getPerspectiveTransform(box.astype(np.float32), goal)
        line = self._cv2.warpPerspective(
            image,
            matrix,
            (width, height),
            borderMode=self._cv2.BORDER_REPLICATE,
            flags=self._cv2.INTER_CUBIC,
        )
        return np.rot90(line) if height / width >= UPRIGHT else line

    def read(self, lines: Sequence[Any]) -> list[Line]:
        """Their texts, in their order."""
        upright = list(lines)
        found: list[Line] = [Line("", 0.0)] * len(lines)
        for rows in _batches(upright):
            batch = self._batch([upright[row] for row in rows], TURNED_WIDTH)
            (said,) = self._direction.run(None, {"x": batch})
            for row, likelihood in zip(rows, said[:, 1], strict=True):
                if likelihood > TURNED:
                    upright[row] = np.rot90(upright[row], 2)
        for rows in _batches(upright):
            widest = max(ratio(upright[row]) for row in rows)
            width = max(SHORTEST_WIDTH, math.ceil(HEIGHT * widest))
            batch = self._batch([upright[row] for row in rows], width)
            (said,) = self._recogniser.run(None, {"x": batch})
            for row, likelihoods in zip(rows, said, strict=True):
                found[row] = decode_ctc(likelihoods, self._characters)
        return found

    def _batch(self, lines: Sequence[Any], width: int) -> Any:
        """[lines, 3, 48, width], between -1 and 1; lines are as wide as they are, then zeros."""
        batch: Any = np.zeros((len(lines), 3, HEIGHT, width), np.float32)
        for row, line in enumerate(lines):
            own = min(width, math.ceil(HEIGHT * ratio(line)))
            scaled = self._cv2.resize(np.ascontiguousarray(line), (own, HEIGHT))
            batch[row, :, :, :own] = scaled.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1.0
        return batch


def ratio(line: Any) -> float:
    """Width by height."""
    return float(line.shape[1] / line.shape[0])


def _batches(lines: Sequence[Any]) -> Iterator[list[int]]:
    """Indices sorted by shape, so that little of a batch is padding."""
    order = sorted(range(len(lines)), key=lambda row: ratio(lines[row]))
    for at in range(0, len(order), BATCH):
        yield order[at : at + BATCH]


def decode_ctc(likelihoods: Any, characters: Sequence[str]) -> Line:
    """The likeliest character of each step [steps, characters]; repetitions and blanks drop out."""
    best = likelihoods.argmax(axis=1)
    kept = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
    text = "".join(characters[index] for index in best[kept])
    return Line(text, float(likelihoods.max(axis=1)[kept].mean()) if kept.any() else 0.0)
