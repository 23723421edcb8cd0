"""Annotating, without weights: pictures, boxes, lines, batches, wire."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_makers import ask, encoded
from PIL import Image

from serving.worker.annotate_faces import FaceFinder
from serving.worker.annotate_findings import finding, read_text
from serving.worker.annotate_handler import AnnotateHandler
from serving.worker.annotate_labels import Labeller, read_names
from serving.worker.annotate_picture import MOST_PIXELS, read_picture
from serving.worker.extras import need
from serving.worker.ocr_detect import TextDetector, clockwise, in_order, net_size
from serving.worker.ocr_read import Line, TextReader, decode_ctc
from serving.worker.settings import Settings
from serving.worker.wire import Refused


def picture(width=6, height=4, form="PNG", mode="RGB", colour=(255, 0, 0), **options):
    into = io.BytesIO()
    Image.new(mode, (width, height), colour).save(into, form, **options)
    return into.getvalue()


@pytest.fixture
def handler():
    made = AnnotateHandler()
    made.passes = []

    def brightness(images):
        made.passes.append(len(images))
        return [[finding(str(int(i.mean())), 0.5, None), finding("x", 0.25, None)] for i in images]

    def corner(images):
        return [[finding("", None, [0, 0, i.shape[1], 1])] for i in images]

    made.open(
        Settings(name="v", task=("annotate",), context=3, max_batch=2),
        {"labels": brightness, "faces": corner},
    )
    return made


def test_images_share_passes_and_bad_ones_fail_alone(handler):
    """Findings by feature in the order asked for, at most as many as asked for; 0 is all."""
    red, white = encoded(picture()), encoded(picture(2, 2, colour=(255, 255, 255)))
    asks = [
        {"task": "annotate", "images": [red, "", white], "features": [["faces", 1], ["labels", 1]]},
        {"task": "annotate", "images": [red], "features": [["objects", 1]]},
        {"task": "annotate", "images": [white], "features": [["labels", 0]]},
        {"task": "annotate", "images": [red] * 4, "features": [["labels", 1]]},
        {"task": "annotate", "images": [red], "features": [["labels", 1], ["labels", 2]]},
        {"task": "annotate", "images": [], "features": [["labels", 1]]},
        {"task": "annotate", "images": [red], "features": [["labels", -1]]},
    ]
    bodies, status = ask(handler, asks)
    assert status == [200, 400, 200, 400, 400, 400, 400]
    first, third = json.loads(bodies[0]), json.loads(bodies[2])
    assert first["images"][0] == {
        "width": 6, "height": 4, "annotations": [
            {"feature": "faces", "text": "", "score": None, "box": [0, 0, 6, 1]},
            {"feature": "labels", "text": "85", "score": 0.5, "box": None},
        ],
    }  # fmt: skip
    assert first["images"][1]["error"]["code"] == "invalid_request"
    assert first["images"][2]["annotations"][1]["text"] == "255"
    assert first["usage"] == {"images": 3}
    assert len(third["images"][0]["annotations"]) == 2
    assert handler.passes == [2, 1]  # three good images of two requests, two in a pass
    codes = [json.loads(bodies[i])["code"] for i in (1, 3, 4, 5, 6)]
    assert codes == ["unsupported", "context_length_exceeded", *["invalid_request"] * 3]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_are_read(form):
    """Size and colour are those of the picture."""
    pixels = read_picture(encoded(picture(9, 5, form)))
    assert pixels.shape == (5, 9, 3)
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() < 4


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_stand_upright(turn):
    """Whatever way the camera was held (EXIF orientation 1 to 8)."""
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255  # white in the upper left
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: np.transpose(a, (1, 0, 2)), 6: np.rot90,
        7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif, into = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    stored = np.ascontiguousarray(undo[turn](upright))
    Image.fromarray(stored).save(into, "JPEG", exif=exif, quality=95)
    seen = read_picture(encoded(into.getvalue()))
    assert seen.shape == upright.shape
    assert np.abs(seen.astype(int) - upright).mean() < 8


def test_what_is_transparent_is_white_and_deep_grey_is_kept():
    """Alpha, a palette with a transparent colour, 16 bits."""
    clear = picture(mode="RGBA", colour=(0, 0, 0, 0))
    assert read_picture(encoded(clear)).min() == 255
    into = io.BytesIO()
    Image.fromarray(np.full((3, 3), 0x8000, np.uint16)).save(into, "PNG")
    assert read_picture(encoded(into.getvalue()))[0, 0].tolist() == [128, 128, 128]


def bomb(side):
    """A few hundred bytes that say they are that many pixels wide and high."""
    raw = bytearray(picture(1, 1))
    raw[16:24] = side.to_bytes(4, "big") * 2
    import zlib

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    return bytes(raw)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "0 bytes"),
        ("###", "not base64"),
        (encoded(b"no image"), "cannot be read"),
        (encoded(picture(60, 60)[:60]), "cannot be read"),
        (encoded(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "cannot be read"),
        (encoded(bomb(65_000)), f"too large: the most is {MOST_PIXELS:,}"),
        (encoded(bomb(6_400)), f"6400 x 6400 pixels: the most is {MOST_PIXELS:,}"),
    ],
)
def test_what_is_no_picture_is_refused(image, words):
    """With the reason, and before pixels are unpacked."""
    with pytest.raises(Refused, match=words) as caught:
        read_picture(image)
    assert caught.value.code == "invalid_request"


@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"BM", b"II*\0"]
    ),
)
def test_no_bytes_break_the_reader(raw, head):
    """They are a picture or refused, nothing else."""
    try:
        pixels = read_picture(base64.b64encode(head + raw).decode())
    except Refused:
        return
    assert pixels.ndim == 3


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_the_detector_sees_a_bounded_size(height, width):
    """In steps of 32, never above the limit, the shape about kept."""
    high, wide = net_size(height, width)
    assert high % 32 == wide % 32 == 0
    assert min(high, wide) >= 32
    assert max(high, wide) <= 2016


@given(st.floats(-40, 40), st.floats(80, 300), st.floats(10, 50))
def test_corners_begin_at_the_upper_left(angle, width, height):
    """Clockwise, for lines that are turned by less than half a right angle."""
    import math

    turn = np.array([[math.cos(math.radians(angle)), -math.sin(math.radians(angle))],
                     [math.sin(math.radians(angle)), math.cos(math.radians(angle))]])  # fmt: skip
    box = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ turn.T
    for start in range(4):
        assert np.allclose(clockwise(np.roll(box, start, axis=0)), box)


def box_at(x, y, width=50, height=20):
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def test_lines_are_read_row_by_row():
    """A row is what overlaps half of its height, even when it runs down a little."""
    boxes = [box_at(200, 7), box_at(0, 0), box_at(0, 30), box_at(100, 4)]
    assert [box[0].tolist() for box in in_order(boxes)] == [[0, 0], [100, 4], [200, 7], [0, 30]]


class Heat:
    """A detector's net that sees white as text, shrunk as DBNet's map is."""

    def run(self, outputs, inputs):
        import cv2

        white = (inputs["x"][0].mean(axis=0) > 0).astype(np.uint8)
        return [cv2.erode(white, np.ones((9, 9), np.uint8)).astype(np.float32)[None, None]]


def test_boxes_are_in_pixels_of_the_image():
    """Whatever the size that the net saw; flat images get a margin that is taken off again."""
    cv2 = need("cv2", "vision")
    for height, width, line in ((400, 600, (50, 100, 300, 40)), (30, 900, (100, 5, 400, 20))):
        image = np.zeros((height, width, 3), np.uint8)
        x, y, w, h = line
        image[y : y + h, x : x + w] = 255
        (box,) = TextDetector(Heat(), cv2).boxes(image)
        low, high = box.min(axis=0), box.max(axis=0)
        tolerance = 0.6 * h
        assert np.allclose(low, [x, y], atol=tolerance)
        assert np.allclose(high, [x + w, y + h], atol=tolerance)
        assert low.min() >= 0
        assert high[1] < height
    assert TextDetector(Heat(), cv2).boxes(np.zeros((90, 90, 3), np.uint8)) == []


def test_ctc_leaves_out_blanks_and_repetitions():
    """A blank between two equal characters keeps both."""
    steps = np.zeros((7, 4))
    for step, index in enumerate([1, 1, 0, 1, 2, 2, 3]):
        steps[step, index] = 0.5 if index == 3 else 1.0
    assert decode_ctc(steps, ["", "a", "b", " "]) == Line("aab ", pytest.approx(0.875))
    assert decode_ctc(np.eye(4)[[0, 0]], ["", "a", "b", " "]) == Line("", 0.0)


class Direction:
    """Says `upside down` of lines whose left end is dark."""

    def run(self, outputs, inputs):
        dark = inputs["x"][:, :, :, :8].mean(axis=(1, 2, 3)) < 0
        return [np.stack([1 - dark, dark], axis=1).astype(np.float32)]


class Recogniser:
    """Reads a line's width in tens of pixels as so many characters; keeps its batches."""

    def __init__(self):
        self.batches = []

    def get_modelmeta(self):
        from types import SimpleNamespace

        return SimpleNamespace(custom_metadata_map={"character": "a\nb"})

    def run(self, outputs, inputs):
        x = inputs["x"]
        self.batches.append(x.shape)
        out = np.zeros((len(x), 8, 4), np.float32)
        out[:, :, 0] = 1
        for row, line in enumerate(x):
            wide = int((np.abs(line).max(axis=(0, 1)) > 0).sum())
            out[row, 0] = [0, 1, 0, 0] if line[0, 0, 0] > 0 else [0, 0, 1, 0]
            out[row, 1, 0], out[row, 1, 3] = (1, 0) if wide < 200 else (0, 1)
        return [out]


def test_lines_are_read_in_their_order_and_turned():
    """Batches are sorted by shape, answers are not; what stands on its head is turned first."""
    reader = TextReader(Direction(), Recogniser(), need("cv2", "vision"))
    short, long = np.full((20, 40, 3), 255, np.uint8), np.full((20, 200, 3), 255, np.uint8)
    turned = long.copy()
    turned[:, :100] = 0
    found = reader.read([long, short, turned])
    assert [line.text for line in found] == ["a ", "a", "a "]
    tall = reader.cut(np.zeros((300, 300, 3), np.uint8), box_at(10, 10, 20, 200))
    assert tall.shape == (20, 200, 3)
    assert reader.read([]) == []


def test_text_of_several_images_is_given_back_to_each():
    """Doubtful and empty lines are left out."""

    class Finds:
        def boxes(self, image):
            return [box_at(10 * i, 0) for i in range(int(image[0, 0, 0]))]

    class Reads:
        def cut(self, image, box):
            return (int(image[0, 0, 0]), int(box[0, 0]))

        def read(self, lines):
            return [
                Line("bad" if x == 10 else f"{n}-{x}", 0.4 if x == 10 else 0.9) for n, x in lines
            ]

    images = [np.full((2, 2, 3), n, np.uint8) for n in (3, 0, 1)]
    found = read_text(Finds(), Reads(), images)
    assert [[row["text"] for row in rows] for rows in found] == [["3-0", "3-20"], [], ["1-0"]]
    assert found[0][1]["box"] == [20, 0, 50, 20]


def test_labels_are_ranked_and_named(tmp_path):
    """The likeliest first, those that say nothing left out; names are WordNet's first."""
    import torch

    (tmp_path / "imagenet_synsets.txt").write_text("n2\nn1\n")
    lemmas = "n1\ttabby, tabby_cat\nn2\tice_lolly, lolly\n"
    (tmp_path / "imagenet_synset_to_lemma.txt").write_text(lemmas)
    names = read_names(tmp_path)
    assert names == ["ice lolly", "tabby"]
    seen = []

    def model(batch):
        seen.append(tuple(batch.shape))
        return torch.tensor([[0.0, 9.0], [1.0, 1.0]])

    labeller = Labeller(model, names, "cpu", need("cv2", "vision"))
    images = [np.zeros((300, 500, 3), np.uint8), np.zeros((10, 1, 3), np.uint8)]
    first, second = labeller.label(images)
    assert [name for name, _ in first] == ["tabby"]
    assert second == [("ice lolly", 0.5), ("tabby", 0.5)]
    assert seen == [(2, 3, 224, 224)]


def test_missing_packages_are_named_with_their_extra():
    """And an OpenCV without cascades is told apart."""
    with pytest.raises(RuntimeError, match=r"pip install 'isocost\[vision\]'"):
        need("no_such_module_here", "vision")
    with pytest.raises(RuntimeError, match="no face cascade"):
        FaceFinder(object())
