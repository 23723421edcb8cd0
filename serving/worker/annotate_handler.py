"""TorchServe handler for annotate: text, labels and faces in images, with dynamic batching.

The images of all requests of a batch share passes of the labels' net, and their lines of text share
passes of the reader. An image that cannot be read fails alone.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.worker.annotate_faces import FaceFinder
from serving.worker.annotate_labels import Labeller, open_labeller
from serving.worker.annotate_picture import read_picture
from serving.worker.device import choose_device, choose_threads
from serving.worker.extras import need
from serving.worker.ocr_detect import TextDetector
from serving.worker.ocr_read import TextReader
from serving.worker.onnx_session import open_session
from serving.worker.quiet import quiet
from serving.worker.settings import Settings, read_settings
from serving.worker.wire import Annotate, Refused, decode, encode, refuse

IMAGES = 16
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


class AnnotateHandler:
    """Keeps the models; TorchServe calls `initialize` once and `handle` for each batch."""

    def initialize(self, context: Any) -> None:
        """Load the models.

        Raises: ValueError or RuntimeError for what this machine or archive cannot serve.
        """
        import torch  # noqa: PLC0415

        config = context.model_yaml_config or {}
        properties = context.system_properties
        settings = read_settings(config, context.model_name)
        wish = os.environ.get("ISOCOST_DEVICE", "auto")
        device = choose_device(settings, properties.get("gpu_id"), torch, wish)
        threads = choose_threads(settings, config)
        # Its net is so small that threads wait for each other longer than they work: on 2 busy
        # cores it took 54 ms of CPU with one thread and 1,000 ms with two (2026-11-23).
        torch.set_num_threads(1)
        folder = Path(properties["model_dir"]) / "model"
        self.open(settings, open_finders(folder, device, threads))
        quiet()

    def open(self, settings: Settings, finders: Mapping[str, Finder]) -> None:
        """Begin to serve these features."""
        self.settings, self._finders = settings, finders

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """The answers of one batch; a bad request is refused alone."""
        answers = [""] * len(data)
        asked: list[tuple[int, list[Picture]]] = []
        for index, item in enumerate(data):
            context.set_response_content_type(index, "application/json")
            try:
                asked.append((index, self._read(item)))
            except Refused as refused:
                answers[index] = refuse(context, index, refused)
        self._find([picture for _, pictures in asked for picture in pictures])
        for index, pictures in asked:
            answers[index] = encode(
                {
                    "images": [picture.body() for picture in pictures],
                    "usage": {"images": len(pictures)},
                    "model": self.settings.name,
                }
            )
        return answers

    def _read(self, item: dict[str, Any]) -> list[Picture]:
        request = decode(item, self.settings.task)
        if not isinstance(request, Annotate):
            raise Refused("unsupported", "This model annotates images only.")
        names = [name for name, _ in request.features]
        unknown = [name for name in names if name not in self._finders]
        if unknown:
            known = ", ".join(self._finders)
            raise Refused("unsupported", f"This model finds {known}; not {unknown[0]!r}.")
        if len(set(names)) < len(names):
            raise Refused("invalid_request", "A feature is asked for twice.")
        most = self.settings.context or IMAGES
        if len(request.images) > most:
            message = f"{len(request.images)} images; the most of one request is {most}."
            raise Refused("context_length_exceeded", message)
        return [self._open(image, request.features) for image in request.images]

    def _open(self, image: str, features: Sequence[tuple[str, int]]) -> Picture:
        try:
            return Picture(read_picture(image), None, features, {})
        except Refused as refused:
            return Picture(None, refused, features, {})

    def _find(self, pictures: Sequence[Picture]) -> None:
        """Each feature for all images that want it, together."""
        for feature, finder in self._finders.items():
            wanted = [
                picture
                for picture in pictures
                if picture.error is None and feature in dict(picture.features)
            ]
            for at in range(0, len(wanted), self.settings.max_batch):
                batch = wanted[at : at + self.settings.max_batch]
                found = finder([picture.pixels for picture in batch])
                for picture, findings in zip(batch, found, strict=True):
                    picture.found[feature] = findings


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
