"""What the router adds to a local chat: router to TorchServe beside TorchServe alone.

Short greedy answers, one at a time, the two ways taking turns.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import msgspec

from .client import Load, Target, calls, client
from .contenders import OURS, PATH, SECRET, router
from .part_serving import question
from .result import Chart, Part, Row
from .scale import Room
from .statistics import median, quantile, rounds
from .torchserve import CHAT, Serving, serving

TOKENS = 4
SECONDS = 25.0
_encode = msgspec.json.Encoder().encode


def run(room: Room) -> Part:
    """Milliseconds of a call."""
    part = Part("mixed")
    with serving(room, [CHAT]) as served, router(room.folder, _config(served)) as started:
        target = Target("router", started.url + PATH, OURS)
        ours, theirs, cpu = asyncio.run(_turns(room, target, served, started.cpu))
    added = median(a - b for a, b in zip(ours, theirs, strict=True))
    detail = f"{1e3 * median(ours):.1f} ms beside {1e3 * median(theirs):.1f} ms"
    share = 100 * added / median(theirs)
    part.rows = [
        Row("added to a local chat, p50", 1e3 * added, "ms", detail=detail),
        Row(f"the same, of an answer of {TOKENS} tokens", share, "%"),
        Row("router CPU per local chat", 1e3 * cpu / len(ours), "ms"),
    ]
    part.raw = {"router_seconds": ours, "direct_seconds": theirs}
    bars = {
        name: {
            "router to TorchServe": 1e3 * quantile(ours, q),
            "TorchServe alone": 1e3 * quantile(theirs, q),
        }
        for name, q in (("p50", 0.5), ("p90", 0.9))
    }
    part.charts = [Chart(f"A local chat of {TOKENS} tokens", "ms", bars)]
    return part


async def _turns(
    room: Room, target: Target, served: Serving, cpu: Any
) -> tuple[list[float], list[float], float]:
    direct = served.target(CHAT)
    ours: list[float] = []
    theirs: list[float] = []
    async with client() as pool:
        for number in range(4):
            await _one(pool, target, _routed(number))
            await _one(pool, direct, _direct(number))
        before = cpu()
        for number in rounds(room.scale.mixed_pairs, SECONDS):
            ours += (await _one(pool, target, _routed(number))).seconds
            theirs += (await _one(pool, direct, _direct(number))).seconds
        spent = cpu() - before
    return ours, theirs, spent


async def _one(pool: Any, target: Target, body: bytes) -> Load:
    return await calls(pool, target, lambda _: body, total=1, in_flight=1)


def _routed(number: int) -> bytes:
    said = [{"role": "user", "content": question(number)}]
    return _encode({"model": "local", "messages": said, "max_tokens": TOKENS, "temperature": 0})


def _direct(number: int) -> bytes:
    said = [{"role": "user", "content": question(number)}]
    asked = {"task": "chat", "messages": said, "max_tokens": TOKENS, "temperature": 0}
    return _encode(asked)


def _config(served: Serving) -> dict[str, Any]:
    return {
        "keys": [{"name": "bench", "sha256": sha256(SECRET.encode()).hexdigest()}],
        "backends": {
            "local-chat": {
                "api": "torchserve",
                "model": CHAT,
                "base": served.base,
                "key_file": str(served.key_file),
                "status": served.status,
                "context": 2048,
                "tasks": ["chat"],
                "price": {"per_hour_usd": 0.05, "concurrency": 4},
            }
        },
        "routes": {
            "local": {
                "task": "chat",
                "backends": ["local-chat"],
                "promise": {"deadline": "60s", "max_cost_usd": 0.05},
                "rules": [{"when": "request.input_tokens > 1500", "exclude": ["local-chat"]}],
            }
        },
    }
