"""What the router costs a chat call: its own CPU time, and the time that it adds.

The same 1 KB body goes straight to the sandbox, through nginx (the floor), through the bare proxy
(the least that a user could write) and through the router with everything on. Streams come from a
sandbox that sends token by token at a vendor's pace, so that each event travels alone; the CPU of
an event is the slope between short and long streams.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from pyreqwest.client import Client

from .bodies import kilobyte, long_winded
from .client import Load, calls, client, streams
from .contenders import Contender, contenders
from .result import Chart, Part, Row
from .scale import Room, Scale
from .statistics import median, quantile, ratios, rounds

CPU_TARGET, EVENT_TARGET = 0.6, 30.0
SHORT, LONG = 4, 64
WHOLE_SECONDS, STREAM_SECONDS = 60.0, 45.0


@dataclass
class Seen:
    """Figures of one contender and one number in flight, one per round."""

    cpu: list[float] = field(default_factory=list)
    """Milliseconds of the contender's own CPU per call."""
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    """Milliseconds of a call."""
    per_second: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    """Milliseconds of the client's CPU per call."""


def run(room: Room) -> Part:
    """Whole calls, then streams."""
    part = Part("router")
    asyncio.run(_whole(room, part))
    asyncio.run(_streams(room, part))
    return part


async def _whole(room: Room, part: Part) -> None:
    seen: dict[int, dict[str, Seen]] = defaultdict(lambda: defaultdict(Seen))
    with contenders(room.folder / "whole", "instant") as (ways, notes):
        part.notes += notes
        async with client() as pool:
            for way in ways.values():
                await calls(pool, way.target, kilobyte, total=room.scale.warm, in_flight=8)
            for _ in rounds(room.scale.rounds, WHOLE_SECONDS):
                for in_flight, total in room.scale.calls:
                    for name, way in ways.items():
                        at = seen[in_flight][name]
                        await _round(pool, way, at, total=total, in_flight=in_flight)
    for in_flight, by_name in seen.items():
        _report(part, in_flight, by_name)
    part.raw["body_bytes"] = len(kilobyte(0))
    part.raw["calls"] = {n: {k: vars(s) for k, s in by.items()} for n, by in seen.items()}
    part.charts = [_chart(seen, "cpu"), _chart(seen, "p50"), _chart(seen, "p99")]


async def _round(pool: Client, way: Contender, at: Seen, *, total: int, in_flight: int) -> None:
    before = way.program.cpu() if way.program else 0.0
    load = await calls(pool, way.target, kilobyte, total=total, in_flight=in_flight)
    spent = way.program.cpu() - before if way.program else 0.0
    at.cpu.append(1e3 * spent / total)
    at.p50.append(1e3 * quantile(load.seconds, 0.5))
    at.p99.append(1e3 * quantile(load.seconds, 0.99))
    at.per_second.append(total / load.elapsed)
    at.client.append(1e3 * load.client_cpu / total)


def _added(by_name: dict[str, Seen], name: str, which: str) -> float:
    straight = getattr(by_name["sandbox"], which)
    return median(a - b for a, b in zip(getattr(by_name[name], which), straight, strict=True))


def _report(part: Part, in_flight: int, by_name: dict[str, Seen]) -> None:
    at = f"{in_flight} in flight"
    for name, seen in by_name.items():
        if name == "sandbox":
            continue
        target = CPU_TARGET if name == "router" else None
        part.rows.append(Row(f"CPU per call, {name}, {at}", median(seen.cpu), "ms", target))
    router, bare = by_name["router"], by_name["bare proxy"]
    part.rows.append(
        Row(f"CPU per call, router / bare proxy, {at}", ratios(router.cpu, bare.cpu), "x")
    )
    for which in ("p50", "p99"):
        for name in by_name:
            if name != "sandbox":
                value = _added(by_name, name, which)
                part.rows.append(Row(f"added latency {which}, {name}, {at}", value, "ms"))
    own = median(s for seen in by_name.values() for s in seen.client)
    part.notes.append(
        f"{at}: the client's own CPU is {own:.2f} ms per call (not counted); straight to the "
        f"sandbox a call takes {median(by_name['sandbox'].p50):.2f} ms"
    )


def _chart(seen: dict[int, dict[str, Seen]], which: str) -> Chart:
    names = [name for name in next(iter(seen.values())) if name != "sandbox"]
    if which == "cpu":
        bars = {
            f"{n} in flight": {name: median(by[name].cpu) for name in names}
            for n, by in seen.items()
        }
        return Chart("CPU per call of the proxy", "ms", bars, CPU_TARGET)
    bars = {
        f"{n} in flight": {name: _added(by, name, which) for name in names}
        for n, by in seen.items()
    }
    return Chart(f"Added latency, {which}", "ms", bars)


async def _streams(room: Room, part: Part) -> None:
    scale = room.scale
    per_event: dict[str, list[float]] = defaultdict(list)
    first: dict[str, list[float]] = defaultdict(list)
    with contenders(room.folder / "streams", "realistic") as (ways, _):
        async with client() as pool:
            bodies = {n: await long_winded(ways["sandbox"].target, n) for n in (SHORT, LONG)}
            await asyncio.gather(*(_warm(pool, way, bodies[SHORT]) for way in ways.values()))
            for _ in rounds(scale.stream_rounds, STREAM_SECONDS):
                for name, way in ways.items():
                    short = await _stream_round(pool, way, bodies[SHORT], scale)
                    long = await _stream_round(pool, way, bodies[LONG], scale)
                    events = (long[1].events - short[1].events) / scale.streams
                    per_event[name].append(1e6 * (long[0] - short[0]) / events)
                    first[name].append(1e3 * quantile(long[1].first, 0.5))
    del per_event["sandbox"]
    for name, seen in per_event.items():
        target = EVENT_TARGET if name == "router" else None
        row = Row(f"CPU per streamed event, {name}", median(seen), "us", target)
        part.rows.append(row)
    for name, seen in per_event.items():
        if name != "router":
            value = ratios(per_event["router"], seen)
            part.rows.append(Row(f"CPU per streamed event, router / {name}", value, "x"))
    for name, seen in first.items():
        if name != "sandbox":
            late = median(a - b for a, b in zip(seen, first["sandbox"], strict=True))
            part.rows.append(Row(f"first event later by, {name}", late, "ms"))
    part.raw["streams"] = {"per_event_us": dict(per_event), "first_ms": dict(first)}
    bars = {"per event": {name: median(seen) for name, seen in per_event.items()}}
    part.charts.append(Chart("CPU per streamed event", "us", bars, EVENT_TARGET))


async def _warm(pool: Client, way: Contender, body: Any) -> Load:
    return await streams(pool, way.target, body, total=16, in_flight=16)


async def _stream_round(
    pool: Client, way: Contender, body: Any, scale: Scale
) -> tuple[float, Load]:
    """CPU seconds per stream, and the load."""
    before = way.program.cpu() if way.program else 0.0
    load = await streams(
        pool, way.target, body, total=scale.streams, in_flight=scale.streams_in_flight
    )
    spent = way.program.cpu() - before if way.program else 0.0
    return spent / scale.streams, load
