"""Limits that OpenAI sets to a text call, and how a limit or a stop text ends an answer."""

from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_forms import Sampling, Text
from load_tests.sandbox.tokens import pieces
from load_tests.sandbox.vendor import Refusal

MOST_CHOICES = 128


def check(asked: Sampling, model: Model, prompt_tokens: int, wanted: int | None, name: str) -> None:
    """Raises Refusal when the model does not take the call; `wanted` are output tokens."""
    if not 1 <= (asked.n or 1) <= MOST_CHOICES:
        raise _value("n", f"Invalid 'n': expected a value between 1 and {MOST_CHOICES}.")
    if asked.temperature is not None and not 0 <= asked.temperature <= 2:
        raise _value("temperature", "Invalid 'temperature': expected a value between 0 and 2.")
    if asked.top_p is not None and not 0 <= asked.top_p <= 1:
        raise _value("top_p", "Invalid 'top_p': expected a value between 0 and 1.")
    if asked.stream_options is not None and not asked.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    if wanted is not None and wanted < 1:
        raise _value(name, f"Invalid '{name}': expected a value >= 1.")
    if wanted is not None and wanted > model.max_output:
        message = f"{name} is too large: {wanted}. This model supports at most {model.max_output} completion tokens."  # noqa: E501
        raise Refusal(400, message, param=name, code="invalid_value")
    if prompt_tokens >= model.window:
        raise too_long(model, prompt_tokens, "messages")


def too_long(model: Model, tokens: int, param: str) -> Refusal:
    """The prompt does not fit into the model's window."""
    message = f"This model's maximum context length is {model.window} tokens. However, your messages resulted in {tokens} tokens. Please reduce the length of the messages."  # noqa: E501
    return Refusal(400, message, param=param, code="context_length_exceeded")


def end(parts: list[str], stop: Text | None, most: int) -> tuple[list[str], str]:
    """The tokens that are said, and why they end there: `stop` or `length`."""
    stops = [stop] if isinstance(stop, str) else (stop or [])
    if stops:
        text = "".join(parts)
        cuts = [at for at in (text.find(word) for word in stops if word) if at >= 0]
        if cuts:
            parts = pieces(text[: min(cuts)])
    if len(parts) > most:
        return parts[:most], "length"
    return parts, "stop"


def _value(param: str, message: str) -> Refusal:
    return Refusal(400, message, param=param, code="invalid_value")
