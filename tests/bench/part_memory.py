"""Resident memory of the router: after its start, after load, and at its peak."""

from __future__ import annotations

import asyncio
import time

from .bodies import chat, kilobyte
from .client import Target, calls, client, streams
from .contenders import OURS, PATH, bare_proxy, everything_on, router, sandbox
from .process import Program
from .result import Chart, Part, Row
from .scale import Room

TARGET = 150.0
SETTLE = 1.5
"""Seconds after the start, in which pages are read and the first polls run."""


def run(room: Room) -> Part:
    """Megabytes (10**6 bytes)."""
    part = Part("memory")
    with sandbox(room.folder, "instant") as base:
        with bare_proxy(room.folder, base) as bare:
            time.sleep(SETTLE)
            beside = bare.megabytes()
        with router(room.folder, everything_on(base)) as started:
            time.sleep(SETTLE)
            idle = started.megabytes()
            after = asyncio.run(_load(started, room.scale.memory_calls))
            peak = started.peak_megabytes()
    part.rows = [
        Row("resident, idle", idle, "MB", TARGET),
        Row("resident, after load", after, "MB", detail=f"{room.scale.memory_calls} calls"),
        Row("resident, peak", peak, "MB"),
        Row("resident, idle, bare proxy", beside, "MB", detail="two processes, as granian runs it"),
    ]
    figures = {"idle": idle, "after load": after, "peak": peak, "bare proxy, idle": beside}
    bars = {name: {"memory": value} for name, value in figures.items()}
    part.charts = [Chart("Resident memory", "MB", bars, TARGET)]
    part.raw = figures
    return part


async def _load(started: Program, total: int) -> float:
    target = Target("router", started.url + PATH, OURS)

    def stream(number: int) -> bytes:
        return chat(f"Number {number}: tell me of the sea.", stream=True, max_tokens=64)

    async with client() as pool:
        await calls(pool, target, kilobyte, total=total, in_flight=64)
        await streams(pool, target, stream, total=total // 10, in_flight=64)
    return started.megabytes()
