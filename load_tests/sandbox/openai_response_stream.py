"""Events of a streamed response, in the order in which OpenAI sends them.

Output tokens are counted with the event that carries them.
"""

from typing import Any

import msgspec

from load_tests.sandbox.vendor import Event

ENCODE = msgspec.json.Encoder().encode


def events(
    begun: dict[str, Any], done: dict[str, Any], item: dict[str, Any], parts: list[str]
) -> list[Event]:
    """All events from the response as it has `begun` to it as `done`, with one item of output."""
    made = 0
    told: list[Event] = []

    def tell(kind: str, **fields: Any) -> None:
        said = {"type": f"response.{kind}", "sequence_number": len(told), **fields}
        data = b"event: response.%b\ndata: %b\n\n" % (kind.encode(), ENCODE(said))
        told.append(Event(data, made))

    place = {"item_id": item["id"], "output_index": 0}
    tell("created", response=begun)
    tell("in_progress", response=begun)
    tell("output_item.added", output_index=0, item=_opened(item))
    if item["type"] == "function_call":
        made = len(parts)
        arguments, name = item["arguments"], item["name"]
        tell("function_call_arguments.delta", **place, delta=arguments)
        tell("function_call_arguments.done", **place, name=name, arguments=arguments)
    else:
        place["content_index"] = 0
        (part,) = item["content"]
        tell("content_part.added", **place, part={**part, "text": ""})
        for piece in parts:
            made += 1
            tell("output_text.delta", **place, delta=piece, logprobs=[])
        tell("output_text.done", **place, text=part["text"], logprobs=[])
        tell("content_part.done", **place, part=part)
    tell("output_item.done", output_index=0, item=item)
    tell(done["status"], response=done)
    return told


def _opened(item: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = (
        {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    )
    return {**item, **empty, "status": "in_progress"}
