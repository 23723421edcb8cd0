"""A request's text as token ids, by the model's own tokenizer and chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from serving.worker.wire import Chat, Complete, Refused

SURE = 1_000_000  # tokenizers without a limit say 10**30


def load_tokenizer(model_dir: Path) -> Any:
    """The tokenizer of a Hugging Face folder, from files on disk only."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    return AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)


def token_rows(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, whole and unpadded, as the model is given them."""
    if not tokenizer.is_fast:
        return [list(row) for row in tokenizer(list(texts))["input_ids"]]
    # Its Python side takes 1 ms a call to make what nobody here reads.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts))]


def prompt_ids(tokenizer: Any, request: Chat | Complete, *, closed: bool = False) -> list[int]:
    """Token ids to continue; `closed` leaves the end token there, for models with an encoder.

    Raises: Refused where the model has no chat template, the template refuses the messages, or
    nothing is left to continue.
    """
    if isinstance(request, Complete):
        ids: list[int] = tokenizer(request.prompt)["input_ids"]
        end = tokenizer.eos_token_id
        while not closed and len(ids) > 1 and ids[-1] == end:
            ids = ids[:-1]  # some tokenizers close each text, and a closed text has no continuation
    else:
        ids = tokenizer(_render(tokenizer, request), add_special_tokens=False)["input_ids"]
    if not ids:
        raise Refused("invalid_request", "The prompt holds no token: send some text.")
    return list(ids)


def _render(tokenizer: Any, request: Chat) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise Refused("unsupported", "This model has no chat template: use the task `complete`.")
    messages = [msgspec.to_builtins(message) for message in request.messages]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:
        message = f"The model's chat template refuses these messages: {error}."
        raise Refused("invalid_request", message) from error
    return text


def end_tokens(tokenizer: Any, model_dir: Path) -> list[int]:
    """Ids after which an answer is over: the tokenizer's and the generation config's."""
    ends = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        file = model_dir / name
        said = msgspec.json.decode(file.read_bytes()).get("eos_token_id") if file.exists() else None
        ends.update(said if isinstance(said, list) else [said])
    return sorted(end for end in ends if end is not None)


def has_encoder(model_dir: Path) -> bool:
    """Whether a model reads the prompt by an encoder, as T5 does."""
    file = model_dir / "config.json"
    config = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    return bool(config.get("is_encoder_decoder"))


def longest_context(asked: int | None, model_dir: Path, tokenizer: Any) -> int:
    """Tokens that fit: the setting, else what the model's config or its tokenizer says."""
    if asked:
        return asked
    file = model_dir / "config.json"
    config = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    sizes = [config.get(key) for key in ("max_position_embeddings", "n_positions")]
    limits = [int(size) for size in [*sizes, tokenizer.model_max_length] if size and size < SURE]
    return min(limits, default=512)


def fit(size: int, max_tokens: int | None, context: int, *, apart: bool = False) -> int:
    """Tokens that may be generated after a prompt of `size`; `apart` bounds each by itself.

    Raises: Refused with `context_length_exceeded` when the prompt and the tokens asked for do not
    fit; a default that was not asked for is cut instead.
    """
    room = context if apart and size <= context else context - size
    if room < 1 or (max_tokens or 0) > room:
        asked = f" and {max_tokens} were asked for" if max_tokens else ""
        message = (
            f"The model holds {context} tokens; the prompt has {size}{asked}. "
            "Shorten the prompt or lower max_tokens."
        )
        raise Refused("context_length_exceeded", message)
    return min(max_tokens or 256, room)
