"""The prediction wire (docs/decisions/0001): JSON bytes in, JSON text out, refusals of one item."""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

Code = Literal["invalid_request", "context_length_exceeded", "unsupported"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Refused(Exception):
    """One item cannot be served as asked; its neighbours can."""

    def __init__(self, code: Code, message: str) -> None:
        """Keep the code of the contract and a message that says what to do."""
        super().__init__(message)
        self.code: Code = code
        self.message = message


class Message(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One turn of a chat."""

    role: Text
    content: str


class Sampled(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The fields that chat and complete share; temperature 0 is greedy."""

    max_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    stop: Annotated[list[Text], msgspec.Meta(max_length=16)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool = False


class Chat(Sampled, tag_field="task", tag="chat", frozen=True, kw_only=True):
    """The next message of a conversation."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]


class Complete(Sampled, tag_field="task", tag="complete", frozen=True, kw_only=True):
    """The continuation of a text."""

    prompt: Text


class Embed(msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="embed", frozen=True):
    """One vector for each text."""

    texts: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2048)]


class Classify(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="classify", frozen=True
):
    """Scores of labels for each text."""

    texts: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2048)]
    labels: Annotated[list[Text], msgspec.Meta(min_length=1)] | None = None
    multi_label: bool = False


class Translate(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="translate", frozen=True
):
    """Each text in another language; languages are BCP 47 tags, source None is to be detected."""

    texts: Annotated[list[str], msgspec.Meta(min_length=1, max_length=256)]
    target: Text
    source: Text | None = None
    formality: Literal["default", "more", "less"] = "default"


class Speak(msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="speak", frozen=True):
    """A text spoken; a stream is always `pcm_s16le`."""

    text: Text
    voice: str | None = None
    speed: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    encoding: Literal["wav", "pcm_s16le"] = "wav"
    stream: bool = False


class Transcribe(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="transcribe", frozen=True
):
    """What is said in a recording; bare samples need their rate."""

    audio: bytes
    encoding: Literal["", "pcm_s16le"] = ""
    sample_rate_hz: Annotated[int, msgspec.Meta(ge=1, le=10**6)] | None = None
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    language: Text | None = None
    timestamps: Literal["none", "segment", "word"] = "none"


class Annotate(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="task", tag="annotate", frozen=True
):
    """Findings in images; a feature's number is the most findings of it, 0 all of them."""

    images: Annotated[list[str], msgspec.Meta(min_length=1)]
    features: Annotated[
        list[tuple[Text, Annotated[int, msgspec.Meta(ge=0)]]], msgspec.Meta(min_length=1)
    ]


Request = Chat | Complete | Embed | Classify | Translate | Speak | Transcribe | Annotate
_decoder = msgspec.json.Decoder(Request)


def decode(item: Mapping[str, Any], tasks: Sequence[str]) -> Request:
    """The request of one TorchServe item, if this model serves its task.

    Raises: Refused with `invalid_request` or `unsupported`.
    """
    body = item.get("body", item.get("data"))
    if body is None or len(body) == 0:
        raise Refused("invalid_request", "The body is empty: send a JSON object with `task`.")
    try:
        if isinstance(body, dict):
            request: Request = msgspec.convert(body, Request)
        else:
            request = _decoder.decode(bytes(body) if isinstance(body, bytearray) else body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("invalid_request", f"The body is not understood: {error}.") from error
    task = type(request).__struct_config__.tag
    if task not in tasks:
        served = ", ".join(tasks)
        raise Refused("unsupported", f"This model does not serve {task!r}; it serves {served}.")
    return request


def encode(answer: Mapping[str, Any]) -> str:
    """JSON text on one line."""
    return msgspec.json.encode(answer).decode()


def encode_vector(values: Any) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def refuse(context: Any, index: int, refused: Refused) -> str:
    """Give item `index` of TorchServe's context its own 400, and return its body."""
    context.set_response_status(400, "Bad Request", index)
    context.set_response_content_type(index, "application/json")
    return encode({"code": refused.code, "message": refused.message})
