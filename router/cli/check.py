"""`isocost check`: is the configuration file right, in all its parts."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from router.cli import parser
from router.cli.amounts import amounts
from router.cli.operator import operator_key
from router.config import ConfigError, read
from router.core.task import Task
from router.pipeline import Pipeline, World, build
from router.tracing import possible

_SETTLED = "; only with temperature 0 or a seed"
_ONLY: dict[Task, str] = {
    "chat": _SETTLED,
    "complete": _SETTLED,
    "transcribe": "; only without a temperature",
}
"""When an answer may be given again (`router.cache.key`)."""


def load(path: Path, *, sandbox: bool) -> Pipeline:
    """The configuration compiled, without opening a connection. Raises ConfigError."""

    def unsent(*_: Any) -> Any:
        async def send(call: Any) -> Any:
            raise AssertionError("a check sends nothing")

        return send

    world = World(
        folder=path.parent,
        env=os.environ,
        now=time.monotonic,
        send=unsent,
        record=lambda call, ending: None,
        sandbox=sandbox,
    )
    try:
        config = read(path)
        possible(config)
        operator_key(config, path.parent)
        return build(config, world)
    except ConfigError as exc:
        text = str(exc)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}:\n{text}") from None


def main(words: list[str]) -> int:
    options = parser("check")
    options.add_argument("file", type=Path, nargs="?", default=Path("isocost.yaml"))
    options.add_argument("--config", type=Path, help="the same, as the other verbs have it")
    options.add_argument("--sandbox", action="store_true", help="keys that are not set are fine")
    given = options.parse_args(words)
    try:
        pipeline = load(given.config or given.file, sandbox=given.sandbox)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    for name, route in pipeline.routes.items():
        served = ", ".join(b.name for b in route.backends)
        baseline = route.baseline.name if route.baseline else "none"
        print(f"route {name}: {route.task} by {served}; baseline {baseline}")
        kept = pipeline.config.routes[name].cache
        if kept is not None:
            who = "all keys share them" if kept.scope == "shared" else "each key has its own"
            print(f"  answers are given again for {kept.ttl:g} s, {who}{_ONLY.get(route.task, '')}")
    for backend in pipeline.backends.values():
        cost = "; ".join(amounts(backend.price)) or "nothing"
        print(f"backend {backend.name}: {backend.model}, USD {cost} ({backend.price.source})")
    print(f"{given.config or given.file}: fine")
    return 0
