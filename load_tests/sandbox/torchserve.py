"""TorchServe with four kinds of text models, for runs without models: free, and asks for no key.

`POST /predictions/{model}` as our handlers answer it (docs/decisions/0001): chat and complete,
whole or as JSON lines, embed, classify. Every model name is served. How many calls it serves
together, and how long one takes, is told by the fault `machine`.
"""

import msgspec
from msgspec import Struct

from load_tests.sandbox.journal import key_name
from load_tests.sandbox.text import Writer
from load_tests.sandbox.tokens import count
from load_tests.sandbox.vectors import embed, packed
from load_tests.sandbox.vendor import Answer, Event, Headers, Refusal, Request

PLACE = "/predictions/"
DIMENSIONS = 384
JSON = (b"content-type", b"application/json")
LINES = (b"content-type", b"application/json-lines")
ENCODE = msgspec.json.Encoder().encode
TASKS = ("chat", "complete", "embed", "classify")


class Message(Struct, frozen=True):
    """One turn of a chat."""

    role: str
    content: str


class Asked(Struct, frozen=True):
    """The fields of all four tasks that are read."""

    task: str
    messages: list[Message] = []
    prompt: str = ""
    texts: list[str] = []
    labels: list[str] | None = None
    max_tokens: int = 256
    stream: bool = False


class TorchServe:
    """The stand-in of local models."""

    name = "torchserve"

    def __init__(self) -> None:
        self._writer = Writer()
        self._decoder = msgspec.json.Decoder(Asked)

    def serves(self, request: Request) -> bool:
        """Predictions of any model."""
        return request.path.startswith(PLACE)

    def heavy(self, request: Request) -> bool:
        """Never."""
        return False

    def answer(self, request: Request) -> Answer:
        """Raises Refusal."""
        model = request.path.removeprefix(PLACE)
        try:
            asked = self._decoder.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Refusal(400, str(wrong), code="invalid_request") from wrong
        if asked.task in ("chat", "complete"):
            return self._text(asked, model, request)
        if asked.task == "embed":
            told: dict[str, object] = {
                "embeddings": [packed(embed(text, DIMENSIONS)) for text in asked.texts],
                "dimensions": DIMENSIONS,
            }
        elif asked.task == "classify" and asked.labels:
            told = {"results": [_classified(text, asked.labels) for text in asked.texts]}
        else:
            raise Refusal(
                400, f"one of {', '.join(TASKS)}; classify with labels", code="unsupported"
            )
        usage = {"input_tokens": sum(map(count, asked.texts))}
        return _answer(request, model, body=ENCODE({**told, "usage": usage, "model": model}))

    def _text(self, asked: Asked, model: str, request: Request) -> Answer:
        prompt = asked.prompt or "\n".join(message.content for message in asked.messages)
        parts = self._writer.write(prompt)
        finish = "length" if len(parts) > asked.max_tokens else "stop"
        parts = parts[: asked.max_tokens]
        usage = {"input_tokens": count(prompt), "output_tokens": len(parts)}
        end = {"finish_reason": finish, "usage": usage, "model": model}
        if not asked.stream:
            body = ENCODE({"text": "".join(parts), **end})
            return _answer(request, model, body=body, work=len(parts))
        pieces = [*({"text": part} for part in parts), end]
        events = [Event(ENCODE(piece) + b"\n", at) for at, piece in enumerate(pieces, 1)]
        return _answer(request, model, events=events)

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """What TorchServe says with this status."""
        kind = {503: "ServiceUnavailableException", 507: "Out of resources"}.get(
            status, "InternalServerException"
        )
        said = "Model has no worker to serve inference request" if status == 503 else "Worker died."
        return Refusal(status, said, code=code or kind, retry_after=retry_after)

    def exhausted(self, unit: str) -> Refusal:
        """Its queue is full."""
        return self.fault(503, None, None)

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """The handler's own words for what it was asked, TorchServe's for all else."""
        if refusal.status == 400:
            return [JSON], ENCODE({"code": refusal.code, "message": refusal.message})
        told = {"code": refusal.status, "type": refusal.code, "message": refusal.message}
        return [JSON], ENCODE(told)


def _answer(
    request: Request,
    model: str,
    *,
    body: bytes = b"",
    events: list[Event] | None = None,
    work: int = 0,
) -> Answer:
    _, _, secret = request.headers.get(b"authorization", b"").decode("latin-1").rpartition(" ")
    return Answer(
        id=f"prediction-{request.number}",
        model=model,
        endpoint=request.path,
        headers=[JSON if events is None else LINES],
        body=body,
        events=events,
        key=key_name(secret) if secret else "",
        work=work,
    )


def _classified(text: str, labels: list[str]) -> dict[str, object]:
    """Scores by how near label and text are, best first; they add up to 1."""
    seen = embed(text, DIMENSIONS)
    near = {
        label: 1.0 + sum(map(float.__mul__, seen, embed(label, DIMENSIONS))) for label in labels
    }
    whole = sum(near.values()) or 1.0
    ranked = sorted(near, key=lambda label: -near[label])
    return {"labels": ranked, "scores": [near[label] / whole for label in ranked]}
