"""The router's own thinking, without sockets: choose among five backends, and hold their gates.

look() + plan() over five backends with a promise, then every gate acquired and released: of one
backend, as a call does, and of all five. Measured together as well, for an answer that a meter has
noted makes the next plan work its quantile out again. What CEL rules cost is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from timeit import timeit
from types import SimpleNamespace
from typing import Any

from router import apis
from router.config import Config, parse
from router.core.api import Told
from router.core.call import Call, Key, Outcome, Usage
from router.core.reply import Reply
from router.core.verdict import OK
from router.doors.arrival import Arrival, Entrance, make_call
from router.pipeline import Pipeline, World, build
from router.plan import look, plan
from router.route import Route

from .bodies import kilobyte
from .contenders import PATH
from .contenders import ROUTE as ROUTE_NAME
from .result import Chart, Part, Row
from .scale import Room
from .statistics import median

TARGET = 40.0
LOOPS = 500
BACKENDS = 5
BACKEND = """
  b{n}:
    api: openai
    model: gpt-4o-mini
    base: http://127.0.0.1:1/v1
    tasks: [chat]
    price: {{input_usd_per_mtok: 0.{n}5, output_usd_per_mtok: 0.{n}}}
"""
ROUTE = """
  {name}:
    task: chat
    backends: [b1, b2, b3, b4, b5]
    promise: {{deadline: 30s, answer: {{p95: 5s}}, max_cost_usd: 0.05}}
"""
RULES = """    rules:
      - {when: 'request.input_tokens > 20000', exclude: [b1]}
      - {when: '"vip" in request.tags && key.team == "gold"', prefer: [b2]}
"""


def run(room: Room) -> Part:
    """Microseconds of CPU, least and median of the repeats."""
    part = Part("plan")
    pipeline = build(_config(), _world(room))
    plain, ruled = pipeline.routes["plain"], pipeline.routes["ruled"]
    call = _call(pipeline)
    _use(pipeline, call)
    one, every = _gates(pipeline, call, 1), _gates(pipeline, call, BACKENDS)
    measured = {
        "look + plan of 5": lambda: _choose(call, plain),
        "gates of 5": every,
        "look + plan of 5 + gates of 1": lambda: (_choose(call, plain), one()),
        "look + plan of 5 + gates of 5": lambda: (_choose(call, plain), every()),
        "look + plan of 5, 2 rules": lambda: _choose(call, ruled),
    }
    times: dict[str, list[float]] = {name: [] for name in measured}
    # In turns: the machine is now quicker, now slower, and each has its share of both.
    for _ in range(room.scale.plan_repeats):
        for name, what in measured.items():
            times[name].append(_time(what))
    for name, taken in times.items():
        # What is above the least was taken by the machine's other guests (timeit's manual).
        least, middle = min(taken), median(taken)
        target = TARGET if "+ gates" in name else None
        part.rows.append(Row(name, least, "us", target, detail=f"median {middle:.1f} us"))
    rules = median(times["look + plan of 5, 2 rules"]) - median(times["look + plan of 5"])
    part.rows.append(Row("one CEL rule", rules / 2, "us"))
    part.raw = times
    short = {name: name.replace("look + plan of 5", "plan") for name in times}
    bars = {short[name]: {"median": median(t), "least": min(t)} for name, t in times.items()}
    part.charts = [Chart("Choosing among 5 backends", "us", bars, TARGET)]
    return part


def _config() -> Config:
    backends = "".join(BACKEND.format(n=n) for n in range(1, BACKENDS + 1))
    routes = ROUTE.format(name="plain") + ROUTE.format(name="ruled") + RULES
    return parse(f"backends:{backends}\nroutes:{routes}")


def _world(room: Room) -> World:
    async def nobody(call: Call) -> Reply:
        raise NotImplementedError

    return World(
        folder=room.folder,
        env={},
        now=time.monotonic,
        send=lambda endpoint: nobody,
        record=lambda call, ending: None,
    )


def _call(pipeline: Pipeline) -> Call:
    """As the door makes it of a request; with a deadline that outlasts the measurement."""
    headers = {b"x-isocost-deadline-ms": b"3600000"}
    body = kilobyte(0).replace(ROUTE_NAME.encode(), b"plain")
    arrival = Arrival(Told(headers=headers), body, Key("bench"), "bench")
    here: Any = SimpleNamespace(pipeline=pipeline, now=time.monotonic, trace=lambda headers: None)
    return make_call(here, Entrance(apis.door("openai"), PATH, "chat"), arrival)


def _use(pipeline: Pipeline, call: Call) -> None:
    """Give the meters a history: an empty one is read faster than a used one."""
    for number, backend in enumerate(pipeline.backends.values(), 1):
        for _ in range(50):
            release = backend.gates.meter.acquire(call)
            release(Outcome(OK, 0.1 * number, Usage(240, 40), first=0.05))


def _choose(call: Call, route: Route) -> object:
    now = time.monotonic()
    return plan(call, route, look(call, route, now), now)


def _gates(pipeline: Pipeline, call: Call, count: int) -> Callable[[], None]:
    stacks = [
        (b.gates.breaker, b.gates.health, b.gates.pause, b.gates.in_flight, b.gates.meter)
        for b in list(pipeline.backends.values())[:count]
    ]
    outcome = Outcome(OK, 0.2, Usage(240, 40), first=0.05)

    def hold() -> None:
        for gates in stacks:
            held = [gate.acquire(call) for gate in gates]
            for release in reversed(held):
                release(outcome)

    return hold


def _time(what: Callable[[], object]) -> float:
    # CPU time: what other programs take of the core is not ours.
    return 1e6 * timeit(what, timer=time.thread_time, number=LOOPS) / LOOPS
