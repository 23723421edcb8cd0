"""Completions (prompt in, text out) and embeddings."""

from typing import Any

import msgspec

from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_forms import CompletionRequest, EmbeddingRequest, Inputs
from load_tests.sandbox.openai_limits import check, end, too_long
from load_tests.sandbox.text import Writer
from load_tests.sandbox.tokens import count, pieces
from load_tests.sandbox.vectors import embed, packed
from load_tests.sandbox.vendor import Answer, Event, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")
ENCODE = msgspec.json.Encoder().encode
DEFAULT_MAX_TOKENS = 16  # what /v1/completions generates when the caller says nothing
MOST_INPUTS = 2048


class Completions:
    """POST /v1/completions."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._decoder = msgspec.json.Decoder(CompletionRequest)

    def read(self, request: Request) -> CompletionRequest:
        """Raises msgspec.DecodeError."""
        return self._decoder.decode(request.body)

    def answer(
        self, asked: CompletionRequest, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """`n` choices for each prompt. Raises Refusal."""
        prompts = listed(asked.prompt)
        tokens_in = sum(tokens for _, tokens in prompts)
        wanted = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        longest = max(tokens for _, tokens in prompts)
        check(asked, model, longest, wanted, "max_tokens")
        if longest + wanted > model.window:
            raise too_long(model, longest + wanted, "prompt")
        said: list[tuple[list[str], str]] = []
        for text, _ in prompts:
            for salt in range(asked.n or 1):
                parts, finish = end(self._writer.write(text, salt), asked.stop, wanted)
                said.append((pieces(text) + parts if asked.echo else parts, finish))
        out = sum(len(parts) for parts, _ in said)
        usage = {"prompt_tokens": tokens_in, "completion_tokens": out}
        usage["total_tokens"] = tokens_in + out
        head = {
            "id": f"cmpl-{request.number:029d}",
            "object": "text_completion",
            "created": int(request.seconds),
            "model": model.answers_as,
        }
        events = _events(head, said, usage, asked) if asked.stream else None
        choices = [_choice(at, "".join(parts), why) for at, (parts, why) in enumerate(said)]
        body = b"" if asked.stream else ENCODE({**head, "choices": choices, "usage": usage})
        return Answer(
            id=str(head["id"]),
            model=model.name,
            endpoint="/v1/completions",
            headers=[SSE if asked.stream else JSON, *headers],
            body=body,
            events=events,
            price=model.price,
            key=key,
            units={"input": tokens_in, "output": out},
            work=out,
        )


class Embeddings:
    """POST /v1/embeddings."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(EmbeddingRequest)

    def read(self, request: Request) -> EmbeddingRequest:
        """Raises msgspec.DecodeError."""
        return self._decoder.decode(request.body)

    def answer(
        self, asked: EmbeddingRequest, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """One unit vector for each input, in their order. Raises Refusal."""
        inputs = listed(asked.input)
        if asked.encoding_format not in (None, "float", "base64"):
            raise Refusal(400, "Invalid value for 'encoding_format'.", param="encoding_format")
        size = asked.dimensions if isinstance(asked.dimensions, int) else model.dimensions
        if not 1 <= size <= model.dimensions:
            message = (
                f"Invalid value for 'dimensions': it must be between 1 and {model.dimensions}."
            )
            raise Refusal(400, message, param="dimensions")
        if len(inputs) > MOST_INPUTS:
            raise Refusal(400, f"'input' may have at most {MOST_INPUTS} items.", param="input")
        for _, tokens in inputs:
            if tokens > model.window:
                raise too_long(model, tokens, "input")
        data: list[dict[str, Any]] = []
        for at, (text, _) in enumerate(inputs):
            vector = embed(text, size)
            shown = packed(vector) if asked.encoding_format == "base64" else vector
            data.append({"object": "embedding", "index": at, "embedding": shown})
        tokens_in = sum(tokens for _, tokens in inputs)
        usage = {"prompt_tokens": tokens_in, "total_tokens": tokens_in}
        listing = {"object": "list", "data": data, "model": model.answers_as, "usage": usage}
        return Answer(
            id=f"embd-{request.number:029d}",
            model=model.name,
            endpoint="/v1/embeddings",
            headers=[JSON, *headers],
            body=ENCODE(listing),
            price=model.price,
            key=key,
            units={"input": tokens_in},
        )


def listed(given: Inputs) -> list[tuple[str, int]]:
    """Every input with its tokens; numbers are taken as tokens already. Raises Refusal."""
    items: list[Any] = [given] if isinstance(given, str) else list(given)
    if items and isinstance(items[0], int):
        items = [items]
    if not items or any(not item for item in items):
        raise Refusal(400, "'$.input' is invalid: it must not be empty.", param="input")
    return [
        (item, count(item)) if isinstance(item, str) else (" ".join(map(str, item)), len(item))
        for item in items
    ]


def _choice(at: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": at, "logprobs": None, "finish_reason": finish}


def _events(
    head: dict[str, Any],
    said: list[tuple[list[str], str]],
    usage: dict[str, int],
    asked: CompletionRequest,
) -> list[Event]:
    counted = asked.stream_options is not None and asked.stream_options.include_usage
    null = {"usage": None} if counted else {}
    events: list[Event] = []
    made = 0
    for at, (parts, finish) in enumerate(said):
        for number, part in enumerate([*parts, ""], 1):
            last = number > len(parts)
            made += not last
            choice = _choice(at, part, finish if last else None)
            events.append(_event({**head, "choices": [choice], **null}, made))
    if counted:
        events.append(_event({**head, "choices": [], "usage": usage}, made))
    events.append(Event(b"data: [DONE]\n\n", made))
    return events


def _event(chunk: dict[str, Any], made: int) -> Event:
    return Event(b"data: " + ENCODE(chunk) + b"\n\n", made)
