"""One place where things are broken: sandboxes, the proxies before them, a router, its books.

router --proxy own--> sandbox own       a backend of one's own: slow past its slots
       --proxy a ---> sandbox vendors   the paid APIs, one bill
       --proxy b --->
"""

import asyncio
import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import yaml
from msgspec import Struct

from load_tests.chaos.kinds import OTHERS, STREAM, WHOLE, Kind
from load_tests.chaos.programs import HOST, Ports, Program, ask, until
from load_tests.chaos.proxy import Proxy
from load_tests.chaos.settings import ADMIN, ENV, KEYS, Setup, settings

Value = TypeVar("Value")
STARTS = 30.0
"""Seconds that a program may take to start, on a busy machine."""


class Box(Struct):
    """A sandbox that runs."""

    program: Program
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/sandbox"

    def faults(self, *rules: dict[str, Any]) -> None:
        """Strike with these until told otherwise."""
        ask(f"{self.url}/faults", {"rules": list(rules)}, "PUT")

    def heal(self) -> None:
        ask(f"{self.url}/faults", None, "DELETE")


def of_account(name: str) -> dict[str, str]:
    """What matches the calls of one account."""
    return {"key": hashlib.sha256(KEYS[name].encode()).hexdigest()[:12]}


class Place:
    """Everything of one place. `start`, then break and heal, then `stop`.

    `kinds` are the calls of its load, `others` those that are asked now and then. `killed`: a
    process of the router was, and what it held is held until it is overdue.
    """

    kinds: tuple[Kind, ...] = (STREAM, WHOLE)
    others: tuple[Kind, ...] = OTHERS

    def __init__(self, folder: Path, ports: Ports, *, slots: int, **how: Any) -> None:
        """*how* are fields of `Setup`: workers, store, deadline, cooldown."""
        folder.mkdir(parents=True)
        self.folder, self.state = folder, folder / "router"
        self.slots, self.killed = slots, False
        self.config, self.clock = folder / "isocost.yaml", folder / "clock"
        self.own = self._box("own", ports.one(), ["--slots", str(slots), "--seed", "7"])
        self.vendors = self._box("vendors", ports.one(), ["--lines", "100000"])
        self.proxies = {
            name: Proxy(ports.one(), box.port)
            for name, box in (("own", self.own), ("a", self.vendors), ("b", self.vendors))
        }
        own, a, b = (f"http://{HOST}:{proxy.port}" for proxy in self.proxies.values())
        self.port, admin = ports.one(), ports.one()
        self.admin = f"http://{HOST}:{admin}/admin"
        self.setup = Setup(own=own, a=a, b=b, admin=admin, slots=slots, **how)
        self.deadline = self.setup.deadline
        command = ["-m", "router", "serve", "--config", str(self.config), "--port", str(self.port)]
        env = ENV | ADMIN | {"CHAOS_CLOCK": str(self.clock), "PYTHONPATH": _clock_first()}
        self.router = Program("router-log", [*command, "--state", str(self.state)], folder, env)

    def _box(self, name: str, port: int, options: list[str]) -> Box:
        command = ["-m", "load_tests.sandbox", "--port", str(port), "--profile", "quick", *options]
        return Box(Program(name, command, self.folder, {}), port)

    async def start(self) -> None:
        """Start all of it. Raises TimeoutError with the log of what did not."""
        self.turn_clock(0.0)
        self.configure(self.settings())
        for proxy in self.proxies.values():
            await proxy.start()
        for program in (self.own.program, self.vendors.program, self.router):
            program.start()
        for box in (self.own, self.vendors):
            await aside(until, lambda at=box: ask(f"{at.url}/health"), STARTS, box.program.name)
        await self.ready()

    async def ready(self) -> None:
        """Wait for the router. Raises TimeoutError with its log."""
        try:
            await aside(until, lambda: ask(f"{self.url}/livez"), STARTS, "router")
        except TimeoutError as late:
            raise TimeoutError(self.router.log.read_text(encoding="utf-8")) from late

    async def stop(self) -> int:
        """Stop all of it; the router's exit status."""
        code = await aside(self.router.stop)
        for program in (self.own.program, self.vendors.program):
            await aside(program.stop)
        for proxy in self.proxies.values():
            proxy.stop()
        return code

    def settings(self) -> dict[str, Any]:
        """The configuration while nothing is broken."""
        return settings(self.setup)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urlopen(f"{self.url}/metrics", timeout=10) as page:  # noqa: S310 - our own router
            lines = page.read().decode().splitlines()
        found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def wait(self, true: Callable[[], Any]) -> None:
        """Until *true* is. Raises TimeoutError."""
        until(true, 10.0, f"{self.router.name} reacts")

    def configure(self, config: dict[str, Any]) -> None:
        """Write the configuration; a router that runs reads it within a second."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        fresh.replace(self.config)

    def turn_clock(self, seconds: float) -> None:
        """Put the router's wall clock so far ahead (or behind)."""
        if not self.clock.exists():
            self.clock.write_bytes(bytes(8))
        with self.clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def records(self) -> list[dict[str, Any]]:
        """Every record of the journal, of all processes, in the order in which calls ended."""
        found = []
        for path in self.state.glob("calls-*.jsonl"):
            whole = path.read_bytes().rpartition(b"\n")[0]
            found += [json.loads(line) for line in whole.split(b"\n") if line]
        return sorted(found, key=lambda record: record["ended"])

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _clock_first() -> str:
    return str(Path(__file__).with_name("clock"))


async def aside(work: Callable[..., Value], *given: Any) -> Value:
    """Run what waits in a thread, so that proxies and calls go on."""
    return await asyncio.to_thread(work, *given)
