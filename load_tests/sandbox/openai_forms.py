"""OpenAI's requests as this sandbox reads them, and its answers as templates of bytes.

Unknown fields are let through as the real API lets most of them through; wrong types are refused.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Text = str | list[str]
Inputs = str | list[str | int | list[int]]  # texts, or tokens as numbers


class Part(Struct):
    """One part of a message's content."""

    type: str
    text: str = ""


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
