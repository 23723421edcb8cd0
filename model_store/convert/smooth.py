"""Smoothing: the same model with weights that bear being rounded to int8 together with activations.

A few channels of a transformer's activations are many times larger than the rest; an int8 scale for
the whole row then leaves nothing of the rest. So each channel j is divided where it is made and
multiplied where it is used, by
    s_j = max|x_j| ** strength / max|w_j| ** (1 - strength)
with max|x_j| seen while the model reads a few lines of text. s is rounded to a power of two, which
float32 multiplies without error: in float32 it is the same model.

Source: Xiao et al., SmoothQuant, 2023 (arXiv 2211.10438). Beyond it, the output layer is smoothed
too, untied from the embeddings for that: a quarter more bytes for most of the gain.
"""

from typing import Any

from model_store.errors import ConversionError

FLOOR = 1e-5  # keeps channels that are never used from being divided by zero

TEXT = """<|im_start|>user
What is the capital of France, and what is it known for?<|im_end|>
<|im_start|>assistant
Its capital is Paris, which is known for the Eiffel Tower, the Louvre, and its food.<|im_end|>
<|im_start|>user
Write a Python function that adds the even numbers of a list.<|im_end|>
<|im_start|>assistant
```python
def add_even(numbers: list[int]) -> int:
    return sum(n for n in numbers if n % 2 == 0)
```
It takes 1 argument, and for [1, 2, 3, 4] it returns 6.<|im_end|>
In 1854 the harbour froze, and no ship came until April. My grandmother, who was eleven then, used
to say: "We ate dried peas for 40 days!" Nobody believed her (least of all my uncle), but the parish
book gives the same number. Water expands by about 9 % as it freezes; that is why pipes burst.

1. Preheat the oven to 200 degrees.
2. Mix flour, butter and two eggs; add salt.
{"name": "cake", "price": 3.50, "sold": true, "tags": ["sweet", "baked"]}
Das Wetter ist heute schön. Bonjour, comment allez-vous ? Subject: Re: meeting on Tuesday
"""


def smooth(model: Any, tokenizer: Any, strength: float) -> None:
    """Rescale a Llama-like model in place. Raises: ConversionError for another architecture."""
    import torch  # noqa: PLC0415 - seconds, only where needed

    if model.config.model_type != "llama":
        raise ConversionError(
            f"Smoothing is known for Llama-like models, not for {model.config.model_type}; "
            "take `smoothing` out of the entry."
        )
    with torch.inference_mode():
        peaks = _peaks(model, tokenizer)
    with torch.no_grad():
        for index, layer in enumerate(model.model.layers):
            _smooth_layer(layer, peaks, f"model.layers.{index}.", strength)
        _smooth_output(model, peaks["lm_head"], strength)


def _peaks(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The largest size of each input channel of each linear layer, by the layer's name."""
    peaks: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def look(_module: Any, inputs: Any, _output: Any) -> None:
            peaks[name] = inputs[0].abs().amax((0, 1))

        return look

    linear = [(n, m) for n, m in model.named_modules() if type(m).__name__ == "Linear"]
    hooks = [module.register_forward_hook(watch(name)) for name, module in linear]
    model.eval()(**tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False))
    for hook in hooks:
        hook.remove()
    return peaks


def _smooth_layer(layer: Any, peaks: dict[str, Any], name: str, strength: float) -> None:
    attention, mlp = layer.self_attn, layer.mlp
    readers = [attention.q_proj, attention.k_proj, attention.v_proj]
    by = _factors(peaks[f"{name}self_attn.q_proj"], readers, strength)
    _move(layer.input_layernorm, readers, by)
    readers = [mlp.gate_proj, mlp.up_proj]
    _move(
        layer.post_attention_layernorm,
        readers,
        _factors(peaks[f"{name}mlp.gate_proj"], readers, strength),
    )
    _move(
        mlp.up_proj,
        [mlp.down_proj],
        _factors(peaks[f"{name}mlp.down_proj"], [mlp.down_proj], strength),
    )


def _smooth_output(model: Any, peak: Any, strength: float) -> None:
    import torch  # noqa: PLC0415

    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    _move(model.model.norm, [model.lm_head], _factors(peak, [model.lm_head], strength))


def _factors(peak: Any, readers: list[Any], strength: float) -> Any:
    weight = readers[0].weight.abs().amax(0)
    for reader in readers[1:]:
        weight = weight.maximum(reader.weight.abs().amax(0))
    by = peak.clamp(min=FLOOR) ** strength / weight.clamp(min=FLOOR) ** (1 - strength)
    return by.log2().round().exp2()


def _move(maker: Any, readers: list[Any], by: Any) -> None:
    """Divide channels where `maker` (a norm or linear layer) makes them, multiply in `readers`."""
    maker.weight /= by if maker.weight.dim() == 1 else by[:, None]
    for reader in readers:
        reader.weight *= by
