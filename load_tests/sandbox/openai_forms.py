"""OpenAI's requests as this sandbox reads them, and its answers as templates of bytes.

Unknown fields are let through as the real API lets most of them through; wrong types are refused.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Text = str | list[str]
Inputs = str | list[str | int | list[int]]  # texts, or tokens as numbers


class Link(Struct):
    """Where an image is: `data:` with the image itself, or an address."""

    url: str


class Part(Struct):
    """One part of a message's content."""

    type: str
    text: str = ""
    image_url: Link | str | None = None


class Message(Struct):
    """One message of a chat."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class StreamOptions(Struct):
    """What a stream carries beside its text."""

    include_usage: bool | None = False
    include_obfuscation: bool | None = True


class Sampling(Struct, kw_only=True):
    """Fields that chat and completions share."""

    model: str
    max_tokens: int | None = None
    n: int | None = 1
    stop: Text | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None


class ChatRequest(Sampling, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None


class CompletionRequest(Sampling, kw_only=True):
    """POST /v1/completions; a prompt may also be token numbers, each of them one token."""

    prompt: Inputs = "<|endoftext|>"
    echo: bool | None = False


class EmbeddingRequest(Struct, kw_only=True):
    """POST /v1/embeddings."""

    model: str
    input: Inputs
    encoding_format: str | None = "float"
    dimensions: int | UnsetType | None = UNSET


class ResponseFormat(Struct, kw_only=True):
    """`text` of a response: the form that is wanted."""

    format: dict[str, Any] | None = None


class ResponseRequest(Struct, kw_only=True):
    """POST /v1/responses."""

    model: str
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = True
    previous_response_id: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    store: bool | None = True
    temperature: float | None = None
    text: ResponseFormat | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    top_p: float | None = None


class SpeechRequest(Struct, kw_only=True):
    """POST /v1/audio/speech."""

    model: str
    input: str
    voice: str | dict[str, str]
    instructions: str | None = None
    response_format: str | None = "mp3"
    speed: float | None = 1.0
    stream_format: str | None = None
