"""torch.nn.Transformer as a translator: the state dict, greedy search, closed domains."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_handlers import call, context_for

from model_store.train.dates import make_tokenizer
from model_store.train.transformer import Shape, TextTransformer, greedy
from serving.worker.domain import LONGEST, Domain
from serving.worker.nn_transformer import Arguments, NnTranslator
from serving.worker.nn_transformer import TextTransformer as Served
from serving.worker.translation import Row
from serving.worker.translation_handler import TranslationHandler
from serving.worker.wire import Refused

TINY = {"d_model": 32, "nhead": 4, "num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 64}  # fmt: skip
LANGUAGES = {"sources": {"en": "English"}, "targets": {"de": "German"}}
DOMAIN = {"pattern": "(?:one|two|three) cats?", "says": "numbers of cats", "lower": True}


def save(folder, shape, *, domain=None, seed=0):
    """An untrained net that ends its sentences."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    make_tokenizer().save_pretrained(folder)
    model = TextTransformer(shape).eval()
    model.output.bias.data[2] = 1.0
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(shape.config()))
    if domain:
        (folder / "domain.json").write_text(json.dumps(domain))
    return model


def opened(folder, **handler):
    served = TranslationHandler()
    context = context_for(
        folder, task=["translate"], engine="torch", translation=LANGUAGES, **handler
    )
    served.initialize(context)
    return served, context


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_served_net_is_the_trained_net(tmp_path, norm_first):
    """Logits step by step and greedy ids, in batches with padding, as in training."""
    shape = Shape(len(make_tokenizer()), norm_first=norm_first, max_length=32, **TINY)
    model = save(tmp_path / "model", shape)
    arguments = Arguments(**{k: v for k, v in shape.config().items() if k != "model_type"})
    served = Served(arguments)
    served.load_state_dict(load_file(tmp_path / "model/model.safetensors"))
    served.eval()
    rows = [[5, 6, 7, 2], [9, 2], [*range(10, 20), 2]]
    target = torch.tensor([[1, 8, 9], [1, 4, 4], [1, 30, 31]])
    width = max(map(len, rows))
    source = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        states = served.read(source, source == 0)
        assert torch.allclose(
            served(states, source == 0, target), model(source, target)[:, -1], atol=1e-4
        )
    found = NnTranslator(served, arguments, "cpu").translate([Row(row) for row in rows], 12)
    for ids, expected in zip(found, greedy(model, rows, 12), strict=True):
        assert ids is None or ids == expected


def test_torchs_own_size_is_served(tmp_path):
    """d_model 512, 8 heads, 6 and 6 layers, the defaults of nn.Transformer: saved, loaded, asked."""
    shape = Shape(len(make_tokenizer()))
    assert (shape.d_model, shape.nhead, shape.num_encoder_layers, shape.num_decoder_layers) == (
        512,
        8,
        6,
        6,
    )
    model = save(tmp_path / "model", shape)
    assert model.transformer.encoder.layers[0].linear1.out_features == 2048
    handler, context = opened(tmp_path / "model")
    assert sum(p.numel() for p in handler.engine._model.parameters()) > 44e6
    rows = [Row(handler.tokenizer(text)["input_ids"]) for text in ("four", "twenty-two")]
    expected = greedy(model, [row.source for row in rows], 6)
    for ids, wanted in zip(handler.engine.translate(rows, 6), expected, strict=True):
        assert ids is None or ids == wanted
    (answer,) = call(handler, context, [{"task": "translate", "texts": ["four"], "target": "de"}])
    assert {"translations", "usage", "model"} == set(json.loads(answer)) or json.loads(answer)[
        "code"
    ] == "context_length_exceeded"


@pytest.mark.parametrize(
    "options", [{"dtype": "bfloat16"}, {"dtype": "float16"}, {"quantization": "int8"}]
)
def test_number_formats_load_and_answer(tmp_path, options):
    """Each line is answered or refused by name, none breaks the batch."""
    save(tmp_path / "model", Shape(len(make_tokenizer()), max_length=32, **TINY))
    handler, _ = opened(tmp_path / "model", **options)
    found = handler.engine.translate([Row([5, 6, 2]), Row([7, 2])], 8)
    torch.backends.mha.set_fastpath_enabled(True)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 64}, "size mismatch"),
        ({"nhead": 5}, "divisible"),
        ({"num_encoder_layers": 3}, "Missing key"),
        ({"nhead": "eight"}, "Expected `int`"),
    ],
)
def test_arguments_that_do_not_fit_the_weights(tmp_path, change, message):
    """The start fails, with the reason."""
    shape = Shape(len(make_tokenizer()), **TINY)
    save(tmp_path / "model", shape)
    file = tmp_path / "model/config.json"
    file.write_text(json.dumps(shape.config() | change))
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "model")


def test_outside_the_domain_is_refused_whatever_the_net_would_say(tmp_path):
    """Beside a text of the domain, in any case and with any blanks."""
    save(tmp_path / "model", Shape(len(make_tokenizer()), max_length=32, **TINY), domain=DOMAIN)
    handler, context = opened(tmp_path / "model")
    handler.engine.translate = lambda rows, longest: [[5] for _ in rows]
    ask = {"task": "translate", "target": "de"}
    good, bad, mixed = call(
        handler,
        context,
        [
            {**ask, "texts": ["Two  CATS", "one cat\nthree cats"]},
            {**ask, "texts": ["four cats"]},
            {**ask, "texts": ["two cats", "two dogs"]},
        ],
    )
    assert [context.get_response_status(i)[0] for i in range(3)] == [200, 400, 400]
    assert len(json.loads(good)["translations"]) == 2
    for answer in (bad, mixed):
        assert json.loads(answer)["code"] == "unsupported"
        assert "numbers of cats" in json.loads(answer)["message"]


def test_a_domain_does_not_read_for_ever():
    """A very long text is refused unread, and shown in part."""
    domain = Domain("(?:a|a)*b", "short words")
    with pytest.raises(Refused, match=r"aaa\.\.\.'") as caught:
        domain.admit("a" * (LONGEST + 1))
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("content", ["[", '{"pattern": "(", "says": "x"}', '{"pattern": "x"}'])
def test_a_broken_domain_stops_the_start(tmp_path, content):
    """A net without its fence is not served."""
    save(tmp_path / "model", Shape(len(make_tokenizer()), **TINY))
    (tmp_path / "model/domain.json").write_text(content)
    with pytest.raises(ValueError, match=r"domain\.json"):
        opened(tmp_path / "model")
