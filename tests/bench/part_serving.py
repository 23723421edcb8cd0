"""What TorchServe costs an engine, and what the default engines gain over plain Transformers.

Served and bare take turns in one run, on the same files, each with the threads that do best for it.
The bare engine is given its batch whole; the served one has to gather it from single calls.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .bare_engines import Apart, Chat, Ct2Chat, Ct2Embedder, Embedder, TorchChat, TorchEmbedder
from .client import calls, client, streams
from .process import ROOT
from .result import Chart, Part, Row
from .scale import Room
from .statistics import median, ratios, rounds
from .torchserve import CHAT, EMBED, Serving, archive, serving, unpack

SHARE, FIRST, FASTER, LIKE = 85.0, 1.3, 3.0, 0.98
CHATS, EMBEDS = (1, 4, 8), (1, 8, 32)
FIRST_TOKENS = 6
PAUSE = 0.3
"""Seconds between turns: threads of OpenMP spin a while before they sleep."""
CHAT_SECONDS, FIRST_SECONDS, EMBED_SECONDS, ENGINE_SECONDS = 50.0, 20.0, 25.0, 20.0
Rounds = dict[str, list[float]]
_encode = msgspec.json.Encoder().encode

PLACES = ("harbour", "village", "station", "library", "factory", "market", "island", "school")


def question(number: int) -> str:
    """Asks for more than any limit lets through; all are of nearly one length."""
    place = PLACES[number % len(PLACES)]
    return f"Write a long story about a {place} in winter, number {number % 90 + 10}, in detail."


def sentence(number: int) -> str:
    """A text of about 22 tokens."""
    place = PLACES[number % len(PLACES)]
    return (
        f"The {place} was closed for {number % 90 + 10} days, so the people went to the next town."
    )


def run(room: Room) -> Part:
    """Percent of the bare engine's speed, and times faster than torch."""
    part = Part("serving")
    chat_files = unpack(archive(room, CHAT), room.folder / CHAT)
    embed_files = unpack(archive(room, EMBED), room.folder / EMBED)
    with (
        closing(Apart(Ct2Chat, chat_files)) as chat,
        closing(Apart(Ct2Embedder, embed_files)) as embedder,
    ):
        with serving(room, [CHAT, EMBED]) as served:
            _chat(room, part, served, chat)
            _first(room, part, served, chat)
            _embed(room, part, served, embedder)
        _engines(room, part, chat, embedder)
    part.notes.append(
        "an engine with a thread per core suffers most where other programs use the cores, torch "
        "above all: compare with torch on a quiet machine"
    )
    return part


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    time.sleep(PAUSE)
    return asyncio.run(work)


def _timed(work: Callable[[], float]) -> float:
    """What *work* made, per second."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    made = work()
    return made / (time.perf_counter() - began)


def _chat_body(number: int, tokens: int, *, stream: bool = False) -> bytes:
    body = {
        "task": "chat",
        "messages": [{"role": "user", "content": question(number)}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    }
    return _encode(body)


async def _served_chat(served: Serving, total: int, in_flight: int, tokens: int) -> float:
    """Tokens per second."""
    async with client() as pool:
        load = await calls(
            pool,
            served.target(CHAT),
            lambda n: _chat_body(n, tokens),
            total=total,
            in_flight=in_flight,
        )
    made = sum(msgspec.json.decode(a)["usage"]["output_tokens"] for a in load.answers)
    return made / load.elapsed


def _bare_chat(chat: Chat, total: int, batch: int, tokens: int) -> float:
    def work() -> float:
        numbers = range(0, total, batch)
        return sum(chat.answer([question(n + i) for i in range(batch)], tokens) for n in numbers)

    return _timed(work)


def _chat(room: Room, part: Part, served: Serving, chat: Apart) -> None:
    scale = room.scale
    ours: Rounds = defaultdict(list)
    theirs: Rounds = defaultdict(list)
    _now(_served_chat(served, 8, 8, 4))
    chat.do(_bare_chat, 8, 8, 4)
    for _ in rounds(scale.serving_rounds, CHAT_SECONDS):
        for n in CHATS:
            total, name = max(2, n) * scale.chat_waves, f"{n} in flight"
            ours[name].append(_now(_served_chat(served, total, n, scale.chat_tokens)))
            theirs[name].append(chat.do(_bare_chat, total, n, scale.chat_tokens))
    _shares(part, "chat", "tokens/s", ours, theirs)


def _first(room: Room, part: Part, served: Serving, chat: Apart) -> None:
    ours: list[float] = []
    theirs: list[float] = []

    async def stream(number: int) -> float:
        async with client() as pool:
            load = await streams(
                pool,
                served.target(CHAT),
                lambda _: _chat_body(number, FIRST_TOKENS, stream=True),
                total=1,
                in_flight=1,
            )
        return load.first[0]

    for number in rounds(room.scale.lone_chats, FIRST_SECONDS):
        ours.append(_now(stream(number)))
        time.sleep(PAUSE)
        theirs.append(chat.do(Ct2Chat.first, question(number), FIRST_TOKENS))
    value = median(ours) / median(theirs)
    detail = f"{1e3 * median(ours):.0f} ms beside {1e3 * median(theirs):.0f} ms"
    part.rows.append(
        Row("first token of a lone chat, served / bare", value, "x", FIRST, detail=detail)
    )
    part.raw["first_token_seconds"] = {"served": ours, "bare": theirs}


async def _served_embed(served: Serving, total: int, in_flight: int) -> float:
    """Texts per second."""

    def body(number: int) -> bytes:
        return _encode({"task": "embed", "texts": [sentence(number)]})

    async with client() as pool:
        load = await calls(pool, served.target(EMBED), body, total=total, in_flight=in_flight)
    return total / load.elapsed


def _bare_embed(embedder: Embedder, total: int, batch: int) -> float:
    def work() -> float:
        for n in range(0, total, batch):
            embedder.embed([sentence(n + i) for i in range(batch)])
        return total

    return _timed(work)


def _embed(room: Room, part: Part, served: Serving, embedder: Apart) -> None:
    ours: Rounds = defaultdict(list)
    theirs: Rounds = defaultdict(list)
    _now(_served_embed(served, 64, 32))
    embedder.do(_bare_embed, 64, 32)
    for _ in rounds(room.scale.serving_rounds, EMBED_SECONDS):
        for n in EMBEDS:
            total, name = max(room.scale.embed_calls, 6 * n), f"{n} in flight"
            ours[name].append(_now(_served_embed(served, total, n)))
            theirs[name].append(embedder.do(_bare_embed, total, n))
    _shares(part, "embed", "texts/s", ours, theirs)


def _shares(part: Part, task: str, unit: str, ours: Rounds, theirs: Rounds) -> None:
    bars = {}
    for name, mine_seen in ours.items():
        share = 100 * ratios(mine_seen, theirs[name])
        mine, bare = median(mine_seen), median(theirs[name])
        detail = f"{mine:.0f} beside {bare:.0f} {unit}"
        part.rows.append(
            Row(f"{task}, served / bare engine, {name}", share, "%", SHARE, True, detail)
        )
        bars[name] = {"served": mine, "bare engine": bare}
    part.charts.append(Chart(f"{task}: TorchServe and the bare engine", unit, bars))
    part.raw[task] = {"served": dict(ours), "bare": dict(theirs)}


def _torch_files(room: Room, name: str) -> Path:
    """The same model for torch, packed from what is in the cache."""
    folder = room.folder / "torch"
    command = [sys.executable, "-m", "model_store", "pack", name, "--engine", "torch"]
    subprocess.run(
        [*command, "--archives", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return unpack(folder / f"{name}-torch.mar", folder / name)


def _engines(room: Room, part: Part, chat: Apart, embedder: Apart) -> None:
    """The default engines beside Transformers in float32, both bare."""
    try:
        chat_files, embed_files = _torch_files(room, CHAT), _torch_files(room, EMBED)
    except (subprocess.SubprocessError, OSError) as exc:
        part.notes.append(f"without torch float32: its weights could not be packed ({exc})")
        return
    ours: Rounds = defaultdict(list)
    theirs: Rounds = defaultdict(list)
    most, tokens = room.scale.serving_rounds, room.scale.torch_tokens
    with closing(Apart(TorchChat, chat_files)) as plain:
        for engine in (plain, chat):
            engine.do(_bare_chat, 2, 2, 2)
        for _ in rounds(most, ENGINE_SECONDS):
            for n in (1, 8):
                name = f"chat, batch {n}"
                ours[name].append(chat.do(_bare_chat, n, n, tokens))
                theirs[name].append(plain.do(_bare_chat, n, n, tokens))
    with closing(Apart(TorchEmbedder, embed_files)) as plain:
        for engine in (plain, embedder):
            engine.do(_bare_embed, 16, 16)
        for _ in rounds(2 * most, ENGINE_SECONDS):
            for n in (1, 16):
                name = f"embed, batch {n}"
                ours[name].append(embedder.do(_bare_embed, 64, n))
                theirs[name].append(plain.do(_bare_embed, 64, n))
        texts = [sentence(n) for n in range(64)]
        vectors = [np.asarray(engine.do(_vectors, texts)) for engine in (embedder, plain)]
    likeness = float(np.mean(np.sum(vectors[0] * vectors[1], axis=1)))
    _compared(part, ours, theirs)
    part.rows.append(Row("embed, cosine to torch float32", likeness, "", LIKE, True))
    part.raw["engines"] = {"ctranslate2": dict(ours), "torch": dict(theirs), "cosine": likeness}


def _vectors(embedder: Embedder, texts: list[str]) -> Any:
    return embedder.embed(texts)


def _compared(part: Part, ours: Rounds, theirs: Rounds) -> None:
    bars = {}
    for name, seen in ours.items():
        value = ratios(seen, theirs[name])
        detail = f"{median(seen):.0f} beside {median(theirs[name]):.0f} per second"
        row = Row(f"{name}: ctranslate2 int8 / torch float32", value, "x", FASTER, True, detail)
        part.rows.append(row)
        bars[name] = {"ctranslate2 int8 / torch float32": value}
    part.charts.append(Chart("Default engines beside torch float32", "x", bars, FASTER))
