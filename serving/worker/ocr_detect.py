"""Where lines of text are in an image: PP-OCRv4's detector (DBNet).

The net gives each pixel a likelihood that it is the inner part of a line; connected pixels become
turned rectangles, which are widened to the whole line.

Source: https://arxiv.org/abs/1911.08947 (Differentiable Binarization); the numbers are those of
rapidocr-onnxruntime 1.4.4 (Apache-2.0), whose models these are. A rectangle widened by its own
distance is a rectangle again, so no polygon library is needed.
"""

from typing import Any

import numpy as np

LEAST_SIDE, MOST_SIDE, STEP = 736, 2000, 32
THRESHOLD, BOX_THRESHOLD = 0.3, 0.5
WIDEN = 1.6
MOST_LINES = 1000
SMALLEST = 3  # pixels of the net's input
LONGEST = 8  # times as wide as high: flatter images get a margin
SAME_ROW = 0.5  # of the line's height


class TextDetector:
    """Finds lines."""

    def __init__(self, session: Any, cv2: Any) -> None:
        """`session` is ONNX Runtime's, `cv2` OpenCV."""
        self._session, self._cv2 = session, cv2

    def boxes(self, image: Any) -> list[Any]:
        """Corners [4, 2] of each line in reading order, clockwise from where the line begins.

        `image` is [height, width, 3], blue first.
        """
        cv2 = self._cv2
        height, width = image.shape[:2]
        margin = max(0, width // LONGEST - height) // 2
        if margin:
            image = cv2.copyMakeBorder(image, margin, margin, 0, 0, cv2.BORDER_REPLICATE)
        size = net_size(*image.shape[:2])
        scaled = cv2.resize(image, size[::-1]).astype(np.float32) / 127.5 - 1.0
        (heat,) = self._session.run(None, {"x": scaled.transpose(2, 0, 1)[None]})
        found = self._lines(heat[0, 0])
        ratio = np.array([image.shape[1] / size[1], image.shape[0] / size[0]])
        limit = np.array([width - 1, height - 1])
        kept = [np.clip(box * ratio - [0, margin], 0, limit) for box in found]
        return in_order([box for box in kept if min(sides(box)) > SMALLEST])

    def _lines(self, heat: Any) -> list[Any]:
        cv2 = self._cv2
        mask = cv2.dilate((heat > THRESHOLD).astype(np.uint8), np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for contour in contours[:MOST_LINES]:
            centre, (across, down), angle = cv2.minAreaRect(contour)
            if min(across, down) < SMALLEST:
                continue
            inner = cv2.boxPoints((centre, (across, down), angle))
            if self._likelihood(heat, inner) < BOX_THRESHOLD:
                continue
            more = 2 * WIDEN * across * down / (2 * (across + down))
            corners = cv2.boxPoints((centre, (across + more, down + more), angle))
            found.append(clockwise(corners))
        return found

    def _likelihood(self, heat: Any, box: Any) -> float:
        """Mean of the heat inside a box."""
        low = np.clip(np.floor(box.min(axis=0)).astype(int), 0, None)
        high = np.ceil(box.max(axis=0)).astype(int) + 1
        part = heat[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(part.shape, np.uint8)
        self._cv2.fillPoly(mask, [np.round(box - low).astype(np.int32)], 1)
        return float(self._cv2.mean(part, mask)[0])


def net_size(height: int, width: int) -> tuple[int, int]:
    """Height and width for the net: small images enlarged, large ones reduced, in steps of 32."""
    ratio = max(1.0, LEAST_SIDE / min(height, width))
    ratio = min(ratio, MOST_SIDE / max(height, width))
    return (
        max(STEP, round(height * ratio / STEP) * STEP),
        max(STEP, round(width * ratio / STEP) * STEP),
    )


def clockwise(corners: Any) -> Any:
    """Upper left, upper right, lower right, lower left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left = left[np.argsort(left[:, 1], kind="stable")]
    right = right[np.argsort(right[:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def sides(box: Any) -> tuple[float, float]:
    """Width and height of a box of four corners."""
    return float(np.linalg.norm(box[0] - box[1])), float(np.linalg.norm(box[0] - box[3]))


def in_order(boxes: list[Any]) -> list[Any]:
    """Rows from the top, each from the left; lines of one row overlap by half their height."""
    rows: list[list[Any]] = []
    for box in sorted(boxes, key=lambda box: float(box[:, 1].mean())):
        middle, height = float(box[:, 1].mean()), float(np.ptp(box[:, 1]))
        last = rows[-1][0] if rows else None
        near = last is not None and abs(float(last[:, 1].mean()) - middle) < SAME_ROW * height
        if near:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda box: float(box[:, 0].min()))]
