"""TorchServe handler for annotate: text, labels and faces in images, with dynamic batching.

The images of all requests of a batch share passes of the labels' net, and their lines of text share
passes of the reader. An image that cannot be read fails alone.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.worker.annotate_findings import Finder, Picture, open_finders
from serving.worker.annotate_picture import read_picture
from serving.worker.device import choose_device, choose_threads
from serving.worker.quiet import quiet
from serving.worker.settings import Settings, read_settings
from serving.worker.wire import Annotate, Refused, decode, encode, refuse

IMAGES = 16


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
