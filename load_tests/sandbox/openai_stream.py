"""Events of a streamed chat, token by token, as bytes around the encoded piece of text.

With include_usage every chunk carries `"usage":null` and one more, with no choices, the usage.
`obfuscation` is there by default, as in recorded traffic. Output tokens are counted with the event
that carries them; the choices of `n` > 1 follow one another.
"""

from typing import Any

import msgspec

from load_tests.sandbox.openai_forms import ChatRequest
from load_tests.sandbox.vendor import Event

ENCODE = msgspec.json.Encoder().encode
PADDED = [b',"obfuscation":"%b"}\n\n' % b"aZ3kQ9xLw2mB7d"[:length] for length in range(15)]
DONE = Event(b"data: [DONE]\n\n", 0)
Choice = tuple[list[str], str, tuple[str, str] | None]


def chunks(
    head: tuple[str, int, str], choices: list[Choice], usage: dict[str, Any], asked: ChatRequest
) -> list[Event]:
    """All events of the answer; the last is `[DONE]`."""
    options = asked.stream_options
    with_usage = options is not None and options.include_usage
    padded = options is None or options.include_obfuscation in (None, True)
    before = (
        f'data: {{"id":"{head[0]}","object":"chat.completion.chunk","created":{head[1]},'
        f'"model":"{head[2]}","service_tier":"default","system_fingerprint":"fp_5a2db0c001",'
    ).encode()
    null = b',"usage":null' if with_usage else b""
    events: list[Event] = []
    made = 0
    for at, (parts, finish, tool) in enumerate(choices):
        opening = before + b'"choices":[{"index":%d,"delta":' % at
        going = b',"logprobs":null,"finish_reason":null}]' + null
        closing = _ending(padded, 5)
        first = b'{"role":"assistant","content":%b,"refusal":null}' % (b"null" if tool else b'""')
        events.append(Event(opening + first + going + closing, made))
        if tool is not None:
            made += len(parts)
            events.append(Event(opening + _call(head[0], tool) + going + closing, made))
        else:
            piece = opening + b'{"content":'
            for number, part in enumerate(parts, 1):
                rest = b"}" + going + _ending(padded, number % 14)
                events.append(Event(piece + ENCODE(part) + rest, made + number))
            made += len(parts)
        last = b'{},"logprobs":null,"finish_reason":"%b"}]' % finish.encode()
        events.append(Event(opening + last + null + closing, made))
    if with_usage:
        counted = before + b'"choices":[],"usage":' + ENCODE(usage) + _ending(padded, 9)
        events.append(Event(counted, made))
    events.append(Event(DONE.data, made))
    return events


def _ending(padded: bool, length: int) -> bytes:  # noqa: FBT001
    return PADDED[length] if padded else b"}\n\n"


def _call(identity: str, tool: tuple[str, str]) -> bytes:
    name, arguments = tool
    function = {"name": name, "arguments": arguments}
    call = {"index": 0, "id": f"call_{identity[-24:]}", "type": "function", "function": function}
    return ENCODE({"tool_calls": [call]})
