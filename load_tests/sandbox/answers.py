"""What a test wants said: contents by what is sent, set over HTTP at /sandbox/answers.

* `audio`: this recording (SHA-256 of its bytes) says this text.
* `images`: this image shows this text, these labels, objects and faces, or is refused with an
  `error` (code and message of google.rpc.Status; other vendors refuse the call).
* `texts`: this text is translated to this language like this.
* `chats`: a question that contains this is answered like this.
`"*"` as sha256 is any that is not named. What nobody set follows from the content itself: own audio
is heard (`tones`), known sentences are translated (`phrases.yaml`), any other text comes back
behind its language, and any other image or recording gets a fixed sentence.
Boxes are shares of the image: left, top, right, bottom. PUT replaces all answers, POST adds some.
"""

from hashlib import sha256
from typing import Literal, TypeVar

from msgspec import Struct

ANY = "*"
Likelihood = Literal["UNKNOWN", "VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY"]
Box = tuple[float, float, float, float]


class Audio(Struct, frozen=True, forbid_unknown_fields=True):
    """What one recording says; no text is silence."""

    sha256: str
    text: str
    language: str = "en"


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """A label, or an object with its place."""

    name: str
    score: float = 0.95
    box: Box = (0.1, 0.1, 0.9, 0.9)


class Face(Struct, frozen=True, forbid_unknown_fields=True):
    """One face."""

    box: Box = (0.3, 0.2, 0.6, 0.7)
    score: float = 0.98
    joy: Likelihood = "UNLIKELY"


class Problem(Struct, frozen=True, forbid_unknown_fields=True):
    """Why an image cannot be read: a code of google.rpc.Code (3: invalid argument)."""

    code: int = 3
    message: str = "Bad image data."


class Image(Struct, frozen=True, forbid_unknown_fields=True):
    """What one image shows. `unsafe` names kinds of content that are likely in it (adult, racy).

    Landmarks, logos and web are found under the names that they are given here.
    """

    sha256: str
    text: str = ""
    language: str = "en"
    labels: tuple[Named, ...] = ()
    objects: tuple[Named, ...] = ()
    landmarks: tuple[Named, ...] = ()
    logos: tuple[Named, ...] = ()
    faces: tuple[Face, ...] = ()
    unsafe: tuple[str, ...] = ()
    error: Problem | None = None


Known = TypeVar("Known", Audio, Image)


class Phrase(Struct, frozen=True, forbid_unknown_fields=True):
    """A text in another language; `to` is its code, without a region or with it."""

    text: str
    to: str
    says: str


class Reply(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to every question that contains a text."""

    contains: str
    says: str


class Answers(Struct, forbid_unknown_fields=True):
    """All that was set; what was set last comes first."""

    audio: list[Audio] = []
    images: list[Image] = []
    texts: list[Phrase] = []
    chats: list[Reply] = []

    def add(self, other: "Answers") -> None:
        """Take further answers in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name) + getattr(self, name))

    def replace(self, other: "Answers") -> None:
        """Take these in place of all."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))

    def heard(self, data: bytes) -> Audio | None:
        """What this recording says."""
        return _found(self.audio, data) if self.audio else None

    def seen(self, data: bytes) -> Image | None:
        """What this image shows."""
        return _found(self.images, data) if self.images else None

    def translated(self, text: str, to: str) -> str | None:
        """The text in the language."""
        base = to.lower().partition("-")[0]
        for phrase in self.texts:
            if phrase.text == text and phrase.to.lower() in (to.lower(), base):
                return phrase.says
        return None

    def replied(self, question: str) -> str | None:
        """The answer to the question."""
        return next((chat.says for chat in self.chats if chat.contains in question), None)


def _found(known: list[Known], data: bytes) -> Known | None:
    digest = sha256(data).hexdigest()
    named = next((one for one in known if one.sha256.lower() == digest), None)
    return named or next((one for one in known if one.sha256 == ANY), None)
