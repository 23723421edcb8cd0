"""Images in a chat: which there are, and how a model that sees speaks of them."""

from base64 import b64decode
from binascii import Error

from load_tests.sandbox.answers import Answers, Image
from load_tests.sandbox.media import Unreadable
from load_tests.sandbox.openai_forms import Message, Part
from load_tests.sandbox.seeing import UNTOLD, see
from load_tests.sandbox.vendor import Refusal

MOST_BYTES = 20 * 1024 * 1024
BAD = "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg', 'gif', 'webp']."  # noqa: E501


def shown(messages: list[Message], answers: Answers) -> list[Image]:
    """What the images of all messages show, in their order. Raises Refusal."""
    found: list[Image] = []
    for message in messages:
        if isinstance(message.content, list):
            found += [_one(part, answers) for part in message.content if part.image_url]
    return found


def described(image: Image) -> str:
    """A sentence or two about an image."""
    labels = ", ".join(one.name.lower() for one in image.labels)
    said = [f"The image shows {labels}." if labels else "The image is plain."]
    if image.text:
        said.append(f'It says: "{image.text}"')
    return " ".join(said)


def findings(images: list[Image]) -> dict[str, list[str]]:
    """What a form with fields of these names is filled with; nothing when there is no image."""
    if not images:
        return {}
    return {
        "labels": [one.name for image in images for one in image.labels],
        "objects": [one.name for image in images for one in image.objects],
        "text": [line for image in images for line in image.text.splitlines()],
    }


def _one(part: Part, answers: Answers) -> Image:
    url = (
        part.image_url if isinstance(part.image_url, str) else part.image_url and part.image_url.url
    )
    head, _, data = (url or "").partition(",")
    if not head.startswith("data:"):
        if head.startswith(("http://", "https://")):
            return UNTOLD  # the sandbox fetches nothing
        raise Refusal(400, "Invalid image URL.", param="image_url", code="invalid_image_url")
    try:
        image = b64decode(data, validate=True)
        if len(image) > MOST_BYTES:
            raise Refusal(400, "The image is larger than 20 MB.", code="image_too_large")
        shows = see(image, answers).shows
    except (Error, Unreadable) as wrong:
        raise Refusal(400, BAD, code="invalid_image_format") from wrong
    if shows.error is not None:
        raise Refusal(400, BAD, code="invalid_image_format")
    return shows
