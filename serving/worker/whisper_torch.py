"""Whisper in torch, by Transformers: any Whisper folder, and GPUs.

The loop is our own, greedy or drawn: the rules for time tokens are those of Transformers, but it
knows the probability of silence, and rows of one pass may be in different languages.

Source: generation and timing of openai/whisper (MIT) and of Transformers (Apache-2.0), 2026-11-23.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.worker.whisper import Guess

LONGEST = 448
LATEST_START = 50  # the first time token is within one second of the window's start
MEDIAN = 7  # frames over which attention is smoothed


def open_whisper(folder: Path, device: str, dtype: str) -> "TorchWhisper":
    """The model of a Hugging Face folder. Raises: ValueError for what is no Whisper model."""
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415 - seconds

    model = WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager", local_files_only=True
    )
    return TorchWhisper(model.eval().to(device), device)


class TorchWhisper:
    """A loaded model; states are tensors of its device."""

    def __init__(self, model: Any, device: str) -> None:
        """Eager attention is needed for the times of words.

        Raises: ValueError for a model whose generation_config does not name its tokens.
        """
        self._model, self._device = model, device
        said = model.generation_config
        self._languages: dict[int, str] = {
            token: name.strip("<|>")
            for name, token in (getattr(said, "lang_to_id", None) or {}).items()
        }
        self.multilingual = bool(getattr(said, "is_multilingual", self._languages))
        self.bands = int(model.config.num_mel_bins)
        no_times = getattr(said, "no_timestamps_token_id", None)
        if no_times is None:
            message = "generation_config.json lacks no_timestamps_token_id: fetch it with the model"
            raise ValueError(message)
        self._no_times = int(no_times)
        self._silence = self._no_times - 1  # <|nospeech|>, in every vocabulary of Whisper
        end = said.eos_token_id
        self._end = int(end[0] if isinstance(end, list) else end)
        self._never = [int(t) for t in getattr(said, "suppress_tokens", None) or []]
        self._not_first = [int(t) for t in getattr(said, "begin_suppress_tokens", None) or []]
        self._heads = [tuple(pair) for pair in getattr(said, "alignment_heads", None) or []]

    def encode(self, mels: Any) -> Any:
        """States [windows, 1500, width]."""
        features = torch.from_numpy(np.ascontiguousarray(mels)).to(self._device, self._model.dtype)
        with torch.inference_mode():
            return self._model.model.encoder(features).last_hidden_state

    def pick(self, states: Any, rows: Sequence[int]) -> Any:
        """Some rows."""
        return states[list(rows)]

    def languages(self, states: Any) -> list[str]:
        """Whisper's names."""
        start = self._model.generation_config.decoder_start_token_id
        logits, _ = self._decode(torch.full((len(states), 1), int(start)), states, None)
        known = list(self._languages)
        best = logits[:, -1, known].argmax(-1).tolist()
        return [self._languages[known[index]] for index in best]

    def generate(
        self, states: Any, prompts: Sequence[list[int]], temperature: float
    ) -> list[Guess]:
        """One token after the other, the likeliest or drawn."""
        tokens = torch.tensor(prompts)
        timed = int(tokens[0, -1]) != self._no_times
        logits, memory = self._decode(tokens, states, None)
        start = int(self._model.generation_config.decoder_start_token_id)
        place = prompts[0].index(start)
        silence = logits[:, place].softmax(-1)[:, self._silence].tolist()
        rows: list[list[int]] = [[] for _ in prompts]
        sums = [0.0] * len(prompts)
        over = [False] * len(prompts)
        for _ in range(LONGEST // 2):
            allowed = self._allowed(logits[:, -1], rows, timed=timed)
            chosen, likely = _choose(allowed, temperature)
            for row, token in enumerate(chosen):
                if over[row]:
                    continue
                sums[row] += likely[row]
                over[row] = token == self._end
                if not over[row]:
                    rows[row].append(token)
            if all(over):
                break
            logits, memory = self._decode(torch.tensor(chosen)[:, None], states, memory)
        return [
            Guess(row, total / (len(row) + 1), quiet)
            for row, total, quiet in zip(rows, sums, silence, strict=True)
        ]

    def align(
        self, states: Any, prompt: list[int], tokens: list[int], frames: int
    ) -> list[tuple[int, int]]:
        """By the attention of the heads that the model's makers chose, else of the upper half."""
        row = torch.tensor([[*prompt, self._no_times, *tokens, self._end]]).to(self._device)
        with torch.inference_mode():
            out = self._model.model.decoder(
                input_ids=row, encoder_hidden_states=states, output_attentions=True, use_cache=False
            )
        layers = out.cross_attentions
        heads = self._heads or [
            (layer, head)
            for layer in range(len(layers) // 2, len(layers))
            for head in range(layers[0].shape[1])
        ]
        weights = torch.stack([layers[layer][0, head] for layer, head in heads]).float()
        weights = weights[:, :, : max(1, frames // 2)].cpu()
        spread, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
        cost = -_smooth((weights - mean) / spread.clamp_min(1e-8)).mean(dim=0)
        # From the token before the first one: what predicts a token looks at its sound.
        return path(cost[len(prompt) : -1].numpy())

    def _decode(self, tokens: Any, states: Any, memory: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            out = self._model(
                decoder_input_ids=tokens.to(self._device),
                encoder_outputs=(states,),
                past_key_values=memory,
                use_cache=True,
            )
        return out.logits.float(), out.past_key_values

    def _allowed(self, logits: Any, rows: Sequence[list[int]], *, timed: bool) -> Any:
        """Logits of the tokens that may come next; the others are minus infinity."""
        logits = logits.clone()
        logits[:, self._never] = -torch.inf
        logits[:, self._no_times] = -torch.inf
        if not rows[0]:
            logits[:, self._not_first] = -torch.inf
        first = self._no_times + 1
        if not timed:
            logits[:, first:] = -torch.inf
            return logits
        for row, said in enumerate(rows):
            self._time(logits[row], said, first)
        return logits

    def _time(self, logits: Any, said: list[int], first: int) -> None:
        """Times come in pairs, rise, and stand at the start; in place."""
        if not said:
            logits[:first] = -torch.inf
            logits[first + LATEST_START + 1 :] = -torch.inf
            return
        last, before = said[-1] >= first, len(said) < 2 or said[-2] >= first
        if last:
            if before:
                logits[first:] = -torch.inf
            else:
                logits[: self._end] = -torch.inf
        times = [token for token in said if token >= first]
        if times:
            # The end of a sentence is later than its start, the start of the next may be equal.
            logits[first : times[-1] + (0 if last and not before else 1)] = -torch.inf
        likely = logits.log_softmax(-1)
        if likely[first:].logsumexp(-1) > likely[:first].max():
            logits[:first] = -torch.inf


def _choose(logits: Any, temperature: float) -> tuple[list[int], list[float]]:
    """A token for each row, and its log probability."""
    likely = logits.log_softmax(-1)
    if temperature > 0:
        chosen = torch.multinomial((logits / temperature).softmax(-1), 1)
    else:
        chosen = logits.argmax(-1, keepdim=True)
    return chosen[:, 0].tolist(), likely.gather(1, chosen)[:, 0].tolist()


def _smooth(weights: Any) -> Any:
    """The median over MEDIAN frames."""
    half = MEDIAN // 2
    if weights.shape[-1] <= half:
        return weights
    padded = torch.nn.functional.pad(weights, (half, half), mode="reflect")
    return padded.unfold(-1, MEDIAN, 1).median(dim=-1).values


def path(cost: Any) -> list[tuple[int, int]]:
    """The cheapest way through [tokens, frames] that never goes back: dynamic time warping."""
    tokens, frames = cost.shape
    total = np.full((tokens + 1, frames + 1), np.inf)
    total[0, 0] = 0.0
    came = np.zeros((tokens + 1, frames + 1), dtype=np.int8)
    for token in range(1, tokens + 1):
        for frame in range(1, frames + 1):
            options = (
                total[token - 1, frame - 1],
                total[token - 1, frame],
                total[token, frame - 1],
            )
            best = int(np.argmin(options))
            total[token, frame] = cost[token - 1, frame - 1] + options[best]
            came[token, frame] = best
    came[0, 1:], came[1:, 0] = 2, 1
    found = []
    token, frame = tokens, frames
    while token > 0 and frame > 0:
        found.append((token - 1, frame - 1))
        step = came[token, frame]
        token -= int(step != 2)
        frame -= int(step != 1)
    return found[::-1]
