"""Faces seen from the front: OpenCV's Haar cascade. It says yes or no, so there is no score.

Source: https://docs.opencv.org/4.x/db/d28/tutorial_cascade_classifier.html; the cascade is part of
the OpenCV package (4.x; version 5 has none).
"""

from pathlib import Path
from typing import Any

FILE = "haarcascade_frontalface_default.xml"
LARGEST = 1024  # pixels of the longer side that are looked at
SMALLEST = 24  # pixels of a face in that
STEP, NEIGHBOURS = 1.1, 6


class FaceFinder:
    """The cascade, loaded."""

    def __init__(self, cv2: Any) -> None:
        """Raises: RuntimeError for an OpenCV without cascades."""
        self._cv2 = cv2
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        if not hasattr(cv2, "CascadeClassifier") or not (Path(folder) / FILE).is_file():
            message = "this OpenCV has no face cascade: pip install 'isocost[vision]' brings one"
            raise RuntimeError(message)
        self._cascade = cv2.CascadeClassifier(str(Path(folder) / FILE))

    def faces(self, image: Any) -> list[tuple[int, int, int, int]]:
        """Boxes (x, y, width, height) in pixels of the image (red first), largest first."""
        cv2 = self._cv2
        height, width = image.shape[:2]
        ratio = min(1.0, LARGEST / max(height, width))
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        grey = cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_RGB2GRAY)
        found = self._cascade.detectMultiScale(
            cv2.equalizeHist(grey), STEP, NEIGHBOURS, minSize=(SMALLEST, SMALLEST)
        )
        boxes = [tuple(int(number / ratio) for number in box) for box in found]
        return sorted(boxes, key=lambda box: box[2] * box[3], reverse=True)  # type: ignore[arg-type]
