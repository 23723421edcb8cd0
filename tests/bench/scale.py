"""How much is measured: the full run, and the quick one that only shows that all parts work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """Sizes of all parts. Rounds interleave the contenders: A B C D A B C D ..."""

    rounds: int = 6
    calls: tuple[tuple[int, int], ...] = ((1, 400), (32, 1200))
    """(in flight, calls) per contender and round."""
    warm: int = 300
    """Calls of each contender before the first round."""
    stream_rounds: int = 4
    streams: int = 96
    streams_in_flight: int = 32
    plan_repeats: int = 40
    ledger_rounds: int = 5
    ledger_pairs: int = 8000
    memory_calls: int = 6000
    serving_rounds: int = 3
    chat_tokens: int = 48
    chat_waves: int = 2
    """Batches per round and number in flight."""
    embed_calls: int = 96
    lone_chats: int = 24
    torch_tokens: int = 12
    mixed_pairs: int = 50


FULL = Scale()
QUICK = Scale(
    rounds=2,
    calls=((1, 60), (32, 160)),
    warm=40,
    stream_rounds=1,
    streams=32,
    plan_repeats=8,
    ledger_rounds=1,
    ledger_pairs=800,
    memory_calls=300,
    serving_rounds=1,
    chat_tokens=12,
    chat_waves=1,
    embed_calls=32,
    lone_chats=3,
    torch_tokens=4,
    mixed_pairs=6,
)


@dataclass(frozen=True)
class Room:
    """Where a part works: an empty folder of its own, and where models are."""

    folder: Path
    archives: Path
    scale: Scale
