"""Chat completions: what is said, as one body or as events."""

from typing import Any

import msgspec
from msgspec import Struct

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.filler import fill
from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_forms import ChatRequest, Message
from load_tests.sandbox.openai_limits import check, end
from load_tests.sandbox.openai_stream import chunks
from load_tests.sandbox.openai_vision import described, findings, shown
from load_tests.sandbox.text import Writer
from load_tests.sandbox.tokens import (
    PER_MEDIA_PART,
    PER_MESSAGE,
    PER_PROMPT,
    PrefixCache,
    count,
    pieces,
)
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")
FINGERPRINT = "fp_5a2db0c001"
ENCODE = msgspec.json.Encoder().encode


class Said(Struct):
    """One choice: its tokens, why it ended, and the tool it calls (name, arguments), if any."""

    parts: list[str]
    finish: str
    tool: tuple[str, str] | None = None


class Chat:
    """POST /v1/chat/completions."""

    def __init__(self, writer: Writer, answers: Answers) -> None:
        self._writer, self._answers = writer, answers
        self._decoder = msgspec.json.Decoder(ChatRequest)
        self._prefixes = PrefixCache()

    def read(self, request: Request) -> ChatRequest:
        """Raises msgspec.DecodeError."""
        return self._decoder.decode(request.body)

    def answer(
        self, asked: ChatRequest, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """The whole answer or its events. Raises Refusal."""
        if not asked.messages:
            message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
            raise Refusal(400, message, param="messages", code="empty_array")
        text, tokens_in = prompt(asked)
        wanted, name = asked.max_completion_tokens, "max_completion_tokens"
        if wanted is None:
            wanted, name = asked.max_tokens, "max_tokens"
        check(asked, model, tokens_in, wanted, name)
        most = min(wanted or model.max_output, model.window - tokens_in)
        said = [self.say(asked, at, most) for at in range(asked.n or 1)]
        out = sum(len(choice.parts) for choice in said)
        cached = self.cached(key, model, text, tokens_in)
        usage = _usage(tokens_in, cached, out)
        head = f"chatcmpl-{request.number:029d}", int(request.seconds), model.answers_as
        body, events = b"", None
        if asked.stream:
            events = chunks(head, [(c.parts, c.finish, c.tool) for c in said], usage, asked)
        else:
            body = _whole(head, said, usage)
        return Answer(
            id=head[0],
            model=model.name,
            endpoint="/v1/chat/completions",
            headers=[SSE if asked.stream else JSON, *headers],
            body=body,
            events=events,
            price=model.price,
            key=key,
            units={"input": tokens_in - cached, "cached": cached, "output": out},
            work=out,
        )

    def cached(self, key: str, model: Model, text: str, tokens_in: int) -> int:
        """Tokens of the prompt that were seen before."""
        return min(self._prefixes.cached(key + model.name, text, tokens_in), tokens_in)

    def say(self, asked: ChatRequest, salt: int, most: int) -> Said:
        """What the model says; `salt` tells several choices apart. Raises Refusal."""
        last = _last_question(asked.messages)
        tool = _tool(asked)
        if tool is not None:
            arguments = ENCODE(fill(tool.get("parameters") or {}, last[:40])).decode()
            return Said(
                pieces(tool["name"] + arguments)[:most], "tool_calls", (tool["name"], arguments)
            )
        told = self._answers.replied(last)
        seen = shown(asked.messages, self._answers)
        if told is None and seen:
            told = " ".join(described(one) for one in seen)
        parts = self._writer.write(last, salt) if told is None else pieces(told)
        form = asked.response_format or {}
        if form.get("type") == "json_object" and not _is_json(told):
            parts = pieces(ENCODE({"answer": "".join(parts)}).decode())
        elif form.get("type") == "json_schema" and not _is_json(told):
            schema = (form.get("json_schema") or {}).get("schema") or {}
            filled = fill(schema, "".join(parts[:12]), findings(seen))
            parts = pieces(ENCODE(filled).decode())
        return Said(*end(parts, asked.stop, most))


def _is_json(told: str | None) -> bool:
    """A set answer that is an object already is said as it is."""
    try:
        return told is not None and isinstance(msgspec.json.decode(told), dict)
    except msgspec.DecodeError:
        return False


def prompt(asked: ChatRequest) -> tuple[str, int]:
    """The text that the prefix cache goes by, and its tokens."""
    texts: list[str] = []
    extra = PER_PROMPT + PER_MESSAGE * len(asked.messages)
    for message in asked.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            for part in message.content or ():
                texts.append(part.text)
                extra += 0 if part.type in ("text", "refusal") else PER_MEDIA_PART
        if message.tool_calls:
            texts.append(ENCODE(message.tool_calls).decode())
    if asked.tools:
        texts.append(ENCODE(asked.tools).decode())
    text = "\n".join(texts)
    return text, extra + count(text)


def _last_question(messages: list[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            content = message.content
            if isinstance(content, str):
                return content
            return " ".join(part.text for part in content or ())
    return ""


def _tool(asked: ChatRequest) -> dict[str, Any] | None:
    """The function that must be called; with tool_choice `auto` the answer is plain text."""
    functions = [tool["function"] for tool in asked.tools or () if "function" in tool]
    if asked.tool_choice == "required":
        return functions[0] if functions else None
    if isinstance(asked.tool_choice, dict):
        name = asked.tool_choice.get("function", {}).get("name")
        return next((one for one in functions if one["name"] == name), None)
    return None


def _usage(tokens_in: int, cached: int, out: int) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": out,
        "total_tokens": tokens_in + out,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _whole(head: tuple[str, int, str], said: list[Said], usage: dict[str, Any]) -> bytes:
    choices = []
    for at, choice in enumerate(said):
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.parts)}
        if choice.tool is not None:
            name, arguments = choice.tool
            call = {"name": name, "arguments": arguments}
            message["content"] = None
            message["tool_calls"] = [
                {"id": f"call_{head[0][-24:]}", "type": "function", "function": call}
            ]
        message |= {"refusal": None, "annotations": []}
        choices.append(
            {"index": at, "message": message, "logprobs": None, "finish_reason": choice.finish}
        )
    return ENCODE(
        {
            "id": head[0],
            "object": "chat.completion",
            "created": head[1],
            "model": head[2],
            "choices": choices,
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )
