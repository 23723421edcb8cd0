"""What an image shows, as one of ImageNet's 1,000 things: EfficientNet-Lite0 in torch.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (224 pixels,
mean 127, deviation 128, a centre crop of 224/256); names by WordNet's synsets, as timm lists them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.worker.extras import need

SIDE = 224
CROP = SIDE / 256
LEAST = 0.02  # likelihood below which a label says nothing


def read_names(folder: Path) -> list[str]:
    """The first name of each class, in the order of the model's answers."""
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines if "\t" in line)
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    return [lemmas[synset].split(",")[0].replace("_", " ").strip() for synset in synsets]


class Labeller:
    """The model, on its device."""

    def __init__(self, model: Any, names: Sequence[str], device: str, cv2: Any) -> None:
        """`model` maps [images, 3, 224, 224] to scores [images, names]."""
        self._model, self._names, self._device, self._cv2 = model, list(names), device, cv2

    def label(self, images: Sequence[Any]) -> list[list[tuple[str, float]]]:
        """Labels and likelihoods of each image (red first), best first."""
        import torch  # noqa: PLC0415

        batch = torch.from_numpy(np.stack([self._fit(image) for image in images]))
        with torch.inference_mode():
            scores = self._model(batch.to(self._device)).float().softmax(-1).cpu().numpy()
        return [self._best(row) for row in scores]

    def _fit(self, image: Any) -> Any:
        height, width = image.shape[:2]
        side = max(1, round(CROP * min(height, width)))
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
        how = self._cv2.INTER_AREA if side > SIDE else self._cv2.INTER_CUBIC
        scaled = self._cv2.resize(square, (SIDE, SIDE), interpolation=how)
        return ((scaled.astype(np.float32) - 127.0) / 128.0).transpose(2, 0, 1)

    def _best(self, row: Any) -> list[tuple[str, float]]:
        order = np.argsort(-row, kind="stable")
        return [(self._names[i], float(row[i])) for i in order if row[i] >= LEAST]


def open_labeller(folder: Path, device: str, cv2: Any) -> Labeller:
    """The model of the folder. Raises: RuntimeError where a package is missing."""
    from safetensors.torch import load_file  # noqa: PLC0415 - only this model's workers have it

    package = need("efficientnet_lite_pytorch", "vision")
    (weights,) = sorted(folder.glob("efficientnet-lite0*.safetensors"))
    model = package.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(load_file(str(weights)))
    model.eval().to(device)
    return Labeller(model, read_names(folder), device, cv2)
