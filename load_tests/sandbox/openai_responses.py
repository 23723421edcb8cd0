"""OpenAI's responses: POST /v1/responses, whole and streamed, without stored state.

The input is read as a chat, so both say the same; a `previous_response_id` is never found.
"""

from typing import Any

import msgspec

from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_chat import Chat, Said, prompt
from load_tests.sandbox.openai_forms import ChatRequest, Message, Part, ResponseRequest
from load_tests.sandbox.openai_limits import check
from load_tests.sandbox.openai_response_stream import events
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream; charset=utf-8")
ENCODE = msgspec.json.Encoder().encode
LEAST_OUTPUT = 16


class Responses:
    """POST /v1/responses."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._decoder = msgspec.json.Decoder(ResponseRequest)

    def read(self, request: Request) -> ResponseRequest:
        """Raises msgspec.DecodeError."""
        return self._decoder.decode(request.body)

    def answer(
        self, asked: ResponseRequest, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """The whole response or its events. Raises Refusal."""
        _check(asked)
        chat = as_chat(asked)
        text, tokens_in = prompt(chat)
        wanted = asked.max_output_tokens
        check(chat, model, tokens_in, wanted, "max_output_tokens")
        most = min(wanted or model.max_output, model.window - tokens_in)
        said = self._chat.say(chat, 0, most)
        cached = self._chat.cached(key, model, text, tokens_in)
        out = len(said.parts)
        usage = {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + out,
        }
        number = f"{request.number:048x}"
        whole = _whole(asked, model, number, int(request.seconds))
        item = _item(said, number)
        done = {**whole, **_ending(said), "output": [item], "usage": usage}
        done["completed_at"] = int(request.seconds) if done["status"] == "completed" else None
        return Answer(
            id=whole["id"],
            model=model.name,
            endpoint="/v1/responses",
            headers=[SSE if asked.stream else JSON, *headers],
            body=b"" if asked.stream else ENCODE(done),
            events=events(whole, done, item, said.parts) if asked.stream else None,
            price=model.price,
            key=key,
            units={"input": tokens_in - cached, "cached": cached, "output": out},
            work=out,
        )


def as_chat(asked: ResponseRequest) -> ChatRequest:
    """The same question as a chat. Raises Refusal."""
    messages = [Message("developer", asked.instructions)] if asked.instructions else []
    if isinstance(asked.input, str):
        messages.append(Message("user", asked.input))
    else:
        messages += [_message(item, at) for at, item in enumerate(asked.input)]
    tools = [
        {"type": "function", "function": tool} for tool in asked.tools or () if _function(tool)
    ]
    choice = asked.tool_choice
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    form = (asked.text.format if asked.text else None) or {}
    if form.get("type") == "json_schema":
        form = {"type": "json_schema", "json_schema": form}
    return ChatRequest(
        model=asked.model,
        messages=messages,
        tools=tools or None,
        tool_choice=choice,
        response_format=form or None,
        stream=asked.stream,
        temperature=asked.temperature,
        top_p=asked.top_p,
    )


def _check(asked: ResponseRequest) -> None:
    if asked.previous_response_id is not None:
        message = f"Previous response with id '{asked.previous_response_id}' not found."
        raise Refusal(
            400, message, param="previous_response_id", code="previous_response_not_found"
        )
    if not asked.input:
        message = "Missing required parameter: 'input'."
        raise Refusal(400, message, param="input", code="missing_required_parameter")
    if asked.max_output_tokens is not None and asked.max_output_tokens < LEAST_OUTPUT:
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_OUTPUT}, but got {asked.max_output_tokens} instead."  # noqa: E501
        raise Refusal(400, message, param="max_output_tokens", code="integer_below_min_value")


def _function(tool: dict[str, Any]) -> bool:
    if tool.get("type") != "function":
        return False  # what the vendor itself would run; the sandbox never calls it
    if not isinstance(tool.get("name"), str):
        message = "Missing required parameter: 'tools[0].name'."
        raise Refusal(400, message, param="tools", code="missing_required_parameter")
    return True


def _message(item: dict[str, Any], at: int) -> Message:
    match item.get("type", "message"):
        case "message":
            content = item.get("content")
            if isinstance(content, str):
                return Message(str(item.get("role")), content)
            if isinstance(content, list) and all(isinstance(one, dict) for one in content):
                return Message(str(item.get("role")), [_part(one) for one in content])
        case "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments")}
            return Message("assistant", None, [{"type": "function", "function": call}])
        case "function_call_output":
            output = item.get("output")
            return Message("tool", output if isinstance(output, str) else ENCODE(output).decode())
        case "reasoning" | "item_reference":
            return Message("assistant", "")
    where = f"input[{at}]"
    raise Refusal(400, f"Invalid value: '{where}'.", param=where, code="invalid_value")


def _part(part: dict[str, Any]) -> Part:
    url = part.get("image_url")
    if part.get("type") == "input_image":
        return Part("image_url", image_url=url if isinstance(url, str) else "")
    kind = "text" if str(part.get("type")).endswith("_text") else str(part.get("type"))
    return Part(kind, str(part.get("text", "")))


def _item(said: Said, number: str) -> dict[str, Any]:
    if said.tool is not None:
        name, arguments = said.tool
        return {
            "id": f"fc_{number}",
            "type": "function_call",
            "status": "completed",
            "arguments": arguments,
            "call_id": f"call_{number[-24:]}",
            "name": name,
        }
    text = "".join(said.parts)
    return {
        "id": f"msg_{number}",
        "type": "message",
        "status": "incomplete" if said.finish == "length" else "completed",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}],
        "role": "assistant",
    }


def _ending(said: Said) -> dict[str, Any]:
    if said.finish == "length":
        return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return {"status": "completed"}


def _whole(asked: ResponseRequest, model: Model, number: str, seconds: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": seconds,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": None,
        "model": model.answers_as,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": asked.store is not False,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": (asked.text and asked.text.format) or {"type": "text"}},
        "tool_choice": asked.tool_choice or "auto",
        "tools": asked.tools or [],
        "top_logprobs": 0,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": asked.metadata or {},
    }
