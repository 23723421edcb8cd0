"""What this worker finds in images, by feature; several images at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.worker.annotate_faces import FaceFinder
from serving.worker.annotate_labels import Labeller, open_labeller
from serving.worker.extras import need
from serving.worker.ocr_detect import TextDetector
from serving.worker.ocr_read import TextReader
from serving.worker.onnx_session import open_session
from serving.worker.wire import Refused

LEGIBLE = 0.5  # mean likelihood of characters below which a line is no text
Finding = dict[str, Any]
Finder = Callable[[Sequence[Any]], list[list[Finding]]]
"""For each image (pixels, red first) its findings, best first; without the feature's name."""


@dataclass(slots=True)
class Picture:
    """One image of one request: its pixels or why there are none, and what was found."""

    pixels: Any
    error: Refused | None
    features: Sequence[tuple[str, int]]
    found: dict[str, list[Finding]]

    def body(self) -> dict[str, Any]:
        """The image's part of the answer."""
        if self.error is not None:
            return {"error": {"code": self.error.code, "message": self.error.message}}
        height, width = self.pixels.shape[:2]
        rows = [
            {"feature": feature, **finding}
            for feature, most in self.features
            for finding in self.found[feature][: most or None]
        ]
        return {"width": width, "height": height, "annotations": rows}


def finding(text: str, score: float | None, box: Sequence[int] | None) -> Finding:
    """One row of the answer."""
    return {"text": text, "score": score, "box": box}


def open_finders(folder: Path, device: str, threads: int) -> dict[str, Finder]:
    """The features of this archive, by what its folder holds."""
    cv2 = need("cv2", "vision")
    cv2.setNumThreads(threads)

    def session(name: str) -> Any:
        return open_session(folder / name, device, threads, "vision")

    detector = TextDetector(session("ch_PP-OCRv4_det_infer.onnx"), cv2)
    reader = TextReader(
        session("ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        session("ch_PP-OCRv4_rec_infer.onnx"),
        cv2,
    )
    labeller, finder = open_labeller(folder, device, cv2), FaceFinder(cv2)

    def text(images: Sequence[Any]) -> list[list[Finding]]:
        return read_text(detector, reader, images)

    def labels(images: Sequence[Any]) -> list[list[Finding]]:
        return label(labeller, images)

    def faces(images: Sequence[Any]) -> list[list[Finding]]:
        return [[finding("", None, box) for box in finder.faces(image)] for image in images]

    return {"text": text, "document": text, "labels": labels, "faces": faces}


def label(labeller: Labeller, images: Sequence[Any]) -> list[list[Finding]]:
    """Labels hold for the whole image."""
    return [[finding(name, score, None) for name, score in row] for row in labeller.label(images)]


def read_text(
    detector: TextDetector, reader: TextReader, images: Sequence[Any]
) -> list[list[Finding]]:
    """Lines in reading order, with the upright box around each."""
    blue_first = [image[:, :, ::-1].copy() for image in images]
    boxes = [detector.boxes(image) for image in blue_first]
    pairs = [(row, box) for row, found in enumerate(boxes) for box in found]
    lines = reader.read([reader.cut(blue_first[row], box) for row, box in pairs])
    found: list[list[Finding]] = [[] for _ in images]
    for (row, box), line in zip(pairs, lines, strict=True):
        if line.score >= LEGIBLE and line.text.strip():
            low, high = box.min(axis=0).round().astype(int), box.max(axis=0).round().astype(int)
            around = [int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])]
            found[row].append(finding(line.text, line.score, around))
    return found
