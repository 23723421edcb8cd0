"""Whisper's two engines with the same small random model: they hear the same."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from media_makers import drive, encoded, tone

from serving.worker import whisper_torch
from serving.worker.settings import Settings
from serving.worker.transcribe_handler import TranscribeHandler, open_whisper
from serving.worker.whisper import Vocabulary
from serving.worker.whisper_mel import log_mel

CHARACTERS = [chr(code) for code in range(97, 123)]
SPECIAL = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
    "<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Whisper with two layers, a tokenizer of letters, and its twin in CTranslate2."""
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    made = tmp_path_factory.mktemp("whisper") / "model"
    times = [f"<|{second / 50:.2f}|>" for second in range(1501)]
    words = [*CHARACTERS, *SPECIAL, *times]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=SPECIAL[0], bos_token=SPECIAL[0], unk_token="a",
        additional_special_tokens=SPECIAL[1:],
    )  # fmt: skip
    tokenizer.save_pretrained(made)
    ids = {word: i for i, word in enumerate(words)}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    torch.manual_seed(3)
    config = WhisperConfig(
        vocab_size=len(words), num_mel_bins=80, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        decoder_start_token_id=start, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    for weight in model.parameters():
        weight.data.mul_(4)
    never = [ids[word] for word in SPECIAL[1:9]]
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        is_multilingual=True, lang_to_id={"<|en|>": ids["<|en|>"], "<|de|>": ids["<|de|>"]},
        suppress_tokens=never, begin_suppress_tokens=[0, end], alignment_heads=[[0, 1], [1, 0]],
        no_timestamps_token_id=ids["<|notimestamps|>"],
    )  # fmt: skip
    model.save_pretrained(made)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(made)
    TransformersConverter(str(made)).convert(str(made / "ct2"), force=True)
    return made


def opened(folder, engine):
    return open_whisper(Settings(engine=engine, threads=1, quantization="none"), folder, "cpu", 1)


@pytest.fixture(scope="module")
def pair(folder):
    return opened(folder, "torch"), opened(folder, "ctranslate2")


@pytest.fixture(scope="module")
def mels():
    noise = np.random.default_rng(1).normal(0, 0.2, (3, 60_000)).astype(np.float32)
    return np.stack(
        [log_mel(sound * scale, 80) for sound, scale in zip(noise, (1, 0.1, 0.5), strict=True)]
    )


def greedy(ct2, states, prompts):
    """What CTranslate2's own greedy search says."""
    import ctranslate2

    view = ctranslate2.StorageView.from_array(np.ascontiguousarray(states))
    found = ct2._model.generate(
        view, prompts, beam_size=1, max_length=448, max_initial_timestamp_index=50,
        return_no_speech_prob=True,
    )  # fmt: skip
    return [(r.sequences_ids[0], r.no_speech_prob) for r in found]


def test_both_engines_hear_the_same(folder, pair, mels):
    """States, tokens, silence and alignment, alone and together."""
    one, other = pair
    vocabulary = Vocabulary(folder / "tokenizer.json")
    mine, theirs = one.encode(mels), other.encode(mels)
    assert np.allclose(mine.numpy(), theirs, atol=2e-3)
    # CTranslate2 takes models of so few words for English ones, so languages are compared alone.
    alone = [one.languages(one.pick(mine, [row]))[0] for row in range(3)]
    assert one.languages(mine) == alone
    assert set(alone) <= {"en", "de"}
    prompts = [vocabulary.prompt(name, times=True) for name in ("en", "de", "en")]
    together = one.generate(mine, prompts, 0.0)
    oracle = greedy(other, theirs, prompts)
    for row, (tokens, silence) in enumerate(oracle):
        alone = one.generate(one.pick(mine, [row]), [prompts[row]], 0.0)[0]
        assert together[row].tokens == alone.tokens
        # Two engines may part ways where two tokens are about equally likely, hardly at once.
        assert together[row].tokens[:10] == tokens[:10]
        assert together[row].silence == pytest.approx(silence, abs=1e-3)
        said = [token for token in tokens if token < vocabulary.end][:20]
        state, view = one.pick(mine, [row]), other.pick(theirs, [row])
        prompt = vocabulary.prompt("en", times=True)
        # Random attention has no direction to agree on; both find a whole path through the sound.
        for engine, states in ((one, state), (other, view)):
            steps = engine.align(states, prompt, said, 375)
            assert steps[0] == (0, 0)
            assert steps[-1] == (len(said), 186)
            assert steps == sorted(steps)


def test_without_times_there_are_none(folder, pair, mels):
    """Not even from a model that would say them."""
    vocabulary = Vocabulary(folder / "tokenizer.json")
    prompts = [vocabulary.prompt("en", times=False)] * 3
    one = pair[0]
    for guess in one.generate(one.encode(mels), prompts, 0.0):
        assert guess.tokens
        assert max(guess.tokens) < vocabulary.end


def test_time_tokens_come_in_rising_pairs(folder, pair, mels):
    """By either engine, greedy, in beams or drawn."""
    vocabulary = Vocabulary(folder / "tokenizer.json")
    prompts = [vocabulary.prompt("en", times=True)] * 3
    for engine in pair:
        for temperature in (0.0, 0.8):
            for guess in engine.generate(engine.encode(mels), prompts, temperature):
                times = [t for t in guess.tokens if t >= vocabulary.first_time]
                assert guess.tokens[0] in times
                assert times == sorted(times)
                assert vocabulary.no_times not in guess.tokens
                assert guess.logprob < 0


@pytest.mark.parametrize("engine", ["torch", "ctranslate2"])
def test_a_recording_goes_through_the_handler(folder, engine):
    """Long, with words, twice at once: times rise and are within the sound."""
    handler = TranscribeHandler()
    settings = Settings(name="w", task=("transcribe",), max_batch=2, piece_seconds=0.05)
    handler.open(settings, opened(folder, engine), Vocabulary(folder / "tokenizer.json"))
    asks = [{"task": "transcribe", "audio": encoded(tone(33)), "timestamps": "word"}] * 2
    bodies, status = drive(handler, asks)
    handler.rounds.close()
    assert status == [200, 200]
    for answer in map(json.loads, bodies):
        assert answer["text"]
        assert answer["language"] in {"en", "de"}
        starts = [word["start"] for word in answer["words"]]
        assert starts
        assert starts == sorted(starts)
        assert all(0 <= w["start"] <= w["end"] <= 33.1 for w in answer["words"])


def test_a_model_without_its_tokens_is_refused(folder):
    """generation_config.json must come with it."""
    from transformers import GenerationConfig, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(folder)
    model.generation_config = GenerationConfig()
    with pytest.raises(ValueError, match=r"generation_config\.json"):
        whisper_torch.TorchWhisper(model, "cpu")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """The token that lacks is named."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="not the tokenizer of a Whisper model"):
        Vocabulary(tmp_path / "tokenizer.json")


@given(st.integers(1, 8), st.integers(1, 12), st.randoms())
def test_the_path_is_the_cheapest_that_never_goes_back(tokens, frames, chance):
    """Against every path, by recursion."""
    cost = np.array([[chance.random() for _ in range(frames)] for _ in range(tokens)])
    found = whisper_torch.path(cost)
    assert found[0] == (0, 0)
    assert found[-1] == (tokens - 1, frames - 1)
    for (a, b), (c, d) in pairwise(found):
        assert (c - a, d - b) in {(1, 1), (1, 0), (0, 1)}
    best = np.full(cost.shape, np.inf)
    for i in range(tokens):
        for j in range(frames):
            before = [
                best[p, q] for p, q in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if p >= 0 and q >= 0
            ]
            best[i, j] = cost[i, j] + (min(before) if before else 0.0)
    assert sum(cost[step] for step in found) == pytest.approx(best[-1, -1])


@pytest.mark.parametrize("engine", ["torch", "ctranslate2"])
def test_any_whisper_folder_is_packed_for_either_engine(folder, tmp_path, engine):
    """From a Hugging Face folder through the store to an archive that loads."""
    import zipfile

    from model_store.entry import Entry
    from model_store.pack import Places, pack

    plain = tmp_path / "plain"
    plain.mkdir()
    for file in folder.glob("*.*"):
        if file.is_file():
            (plain / file.name).write_bytes(file.read_bytes())
    entry = Entry.model_validate(
        {
            "name": "tiny-whisper", "summary": "Random.", "tasks": ["transcribe"],
            "source": {"kind": "folder", "path": str(plain)}, "licence": "none",
            "languages": ["en"], "context": 448, "engine": engine, "engines": {engine: {}},
        }
    )  # fmt: skip
    places = Places(catalog=tmp_path, archives=tmp_path / "mar", cache=tmp_path / "cache")
    packed = pack(entry, engine, places)
    with zipfile.ZipFile(packed.file) as archive:
        archive.extractall(tmp_path / "out")
    model = opened(tmp_path / "out" / "model", engine)
    assert model.bands == 80
    assert (tmp_path / "out" / "serving" / "worker" / "whisper_torch.py").is_file()
