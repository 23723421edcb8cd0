"""What an image shows: what a test said of it, else always the same."""

from msgspec import Struct

from load_tests.sandbox.answers import ANY, Answers, Image, Named
from load_tests.sandbox.media import Size, look

UNTOLD = Image(
    sha256=ANY,
    text="Isocost sandbox",
    labels=(Named("Picture", 0.93), Named("Rectangle", 0.81)),
)


class Seen(Struct, frozen=True):
    """An image with its size in pixels."""

    shows: Image
    size: Size


def see(data: bytes, answers: Answers) -> Seen:
    """What the image shows. Raises Unreadable when it is none, or is told to be none."""
    shows = answers.seen(data) or UNTOLD
    return Seen(shows, Size(0, 0) if shows.error else look(data))
