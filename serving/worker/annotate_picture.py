"""Images of a request as arrays of pixels, upright and of a bounded size.

The size is read from the head of the file before any pixel is: a few kilobytes can unfold to
gigabytes. Only formats that need no other file or program are opened.
"""

import base64
import binascii
import io
import warnings
from typing import Any

import numpy as np

from serving.worker.extras import need
from serving.worker.wire import Refused

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MOST_PIXELS = 40_000_000
MOST = f"the most is {MOST_PIXELS:,} pixels. Scale it down."
WHITE = (255, 255, 255, 255)


def read_picture(encoded: str) -> Any:
    """Pixels [height, width, 3], red first, uint8, turned as the camera noted it.

    Raises: Refused for what is no image, is damaged or too large.
    """
    image_module, operations = need("PIL.Image", "vision"), need("PIL.ImageOps", "vision")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Refused("invalid_request", f"The image is not base64: {error}.") from error
    if not raw:
        raise Refused("invalid_request", "The image has 0 bytes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that we look at too
            with image_module.open(io.BytesIO(raw), formats=FORMATS) as image:
                _bounded(*image.size)
                upright = operations.exif_transpose(image)
                return _on_white(image_module, upright)
    except Refused:
        raise
    except image_module.DecompressionBombError as error:  # Pillow looks first
        raise Refused("invalid_request", f"The image is too large: {MOST}") from error
    except Exception as error:  # decoders of damaged files raise what they like
        known = ", ".join(name.lower() for name in FORMATS)
        message = f"The image cannot be read: send a whole image ({known})."
        raise Refused("invalid_request", message) from error


def _bounded(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        message = f"The image has {width} x {height} pixels: {MOST}"
        raise Refused("invalid_request", message)


def _on_white(image_module: Any, image: Any) -> Any:
    """What is transparent shows white, as on a page."""
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = image_module.alpha_composite(image_module.new("RGBA", layer.size, WHITE), layer)
    elif image.mode.startswith("I;16") or image.mode == "I":
        image = image_module.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))
