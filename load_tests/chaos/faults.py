"""The faults of the matrix: what is broken, how, and what callers are owed while it lasts.

dead      the dependency does nothing any more, and another one may serve
rescued   `all`: another backend may serve, so every call that begins meanwhile is answered
          right within its deadline; `whole`: only answers in one piece, since a stream that
          broke after its first event cannot be begun anew; `none`: nobody else may serve
trips     the breaker has to open, under load
kills     the router itself is killed: calls that it had may be cut off
unwritten the journal may lack calls of that time
kinds     of calls that are asked, where they are not the usual ones
lasts     seconds, where they are more than those of the pace
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from load_tests.chaos.checks import Check
from load_tests.chaos.kinds import CUT_OFF, RESUMED
from load_tests.chaos.kinds import Kind as Asked
from load_tests.chaos.place import Box, Place, aside, of_account
from load_tests.chaos.programs import ask
from load_tests.chaos.proxy import Kind, Spoil

Act = Callable[[Place], Awaitable[None]]
Watch = Callable[[Place], Awaitable[list[Check]]]
Rescued = Literal["all", "whole", "none"]
Target = Literal["own", "a", "local"]


class Fault(Struct, frozen=True):
    """One row of the matrix."""

    name: str
    target: Target
    strike: Act
    heal: Act
    rescued: Rescued = "all"
    trips: bool = True
    watch: Watch | None = None
    kills: bool = False
    unwritten: bool = False
    dead: bool = False
    kinds: tuple[Asked, ...] = ()
    lasts: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """Of calls that ask the target first."""
        return {"x-isocost-tags": "paid"} if self.target == "a" else {}


def network(name: str, target: Target, kind: Kind, *, also: Any = None, **how: Any) -> Fault:
    """Something between the router and the dependency."""

    async def strike(place: Place) -> None:
        await place.proxies[target].spoil(Spoil(kind, **(also or {})))

    async def heal(place: Place) -> None:
        await place.proxies[target].heal()

    return Fault(f"{name}", target, strike, heal, **how)


def vendor(name: str, target: Target, rule: dict[str, Any], **how: Any) -> Fault:
    """Something that the dependency does itself."""

    def box(place: Place) -> Box:
        return place.own if target == "own" else place.vendors

    async def strike(place: Place) -> None:
        matched = {"match": of_account(target)} if target != "own" else {}
        await aside(box(place).faults, rule | matched)

    async def heal(place: Place) -> None:
        await aside(box(place).heal)

    return Fault(name, target, strike, heal, **how)


def unresolved(target: Target) -> Fault:
    """The name of the backend is not known to the DNS any more."""

    async def strike(place: Place) -> None:
        config = place.settings()
        lost = f"{target}.chaos.invalid"
        for name, backend in config["backends"].items():
            if name.startswith(f"{target}-"):
                backend["base"] = backend["base"].replace("127.0.0.1", lost)
        await reloaded(place, config)

    async def heal(place: Place) -> None:
        await reloaded(place, place.settings())

    return Fault("DNS failure", target, strike, heal, dead=True)


def continued(target: Target) -> Fault:
    """The vendor cuts streams of a route that lets the next backend go on with them."""
    cut = vendor("", target, {"fault": "cut", "after_events": 6})

    async def strike(place: Place) -> None:
        await aside(ask, f"{place.vendors.url}/answers", CUT_OFF, "PUT")
        await cut.strike(place)

    async def heal(place: Place) -> None:
        await cut.heal(place)
        await aside(ask, f"{place.vendors.url}/answers", None, "DELETE")

    return Fault("stream cut, on_broken_stream: continue", target, strike, heal, kinds=(RESUMED,))


async def reloaded(place: Place, config: dict[str, Any]) -> None:
    """Have the router serve another configuration."""
    before = await aside(place.metric, "isocost_config_reloads_total")
    place.configure(config)
    await aside(place.wait, lambda: place.metric("isocost_config_reloads_total") > before)


STATUS = {"fault": "status"}
NETWORK = (
    network("refuse", "own", "refuse", dead=True),
    network("refuse", "a", "refuse", dead=True),
    network("blackhole: no connection", "a", "blackhole", dead=True),
    network("hang before headers", "own", "hang"),
    network("hang before headers", "a", "hang"),
    network("slow x10", "own", "slow", rescued="whole", trips=False),
    network("slow x10", "a", "slow", rescued="whole", trips=False),
    network("delay of 0.5 s", "a", "delay", trips=False),
    network("hang mid-stream", "a", "stall", rescued="whole"),
    network("reset mid-stream", "own", "reset", rescued="whole"),
    network("reset mid-stream", "a", "reset", rescued="whole"),
    network("truncated body", "a", "truncate", rescued="whole"),
    network("lying Content-Length", "a", "length", trips=False),
    network("1000 bytes a second", "a", "bandwidth", rescued="whole", trips=False),
    unresolved("a"),
)
VENDOR = (
    vendor("500", "a", STATUS | {"status": 500}, dead=True),
    vendor("500, half of the calls", "a", STATUS | {"status": 500, "probability": 0.5}),
    vendor("429, Retry-After 1 s", "a", STATUS | {"status": 429, "retry_after": 1}, trips=False),
    vendor("429, no Retry-After", "a", STATUS | {"status": 429}, trips=False),
    vendor("hang before first event", "a", {"fault": "hang_after_headers"}),
    vendor("stream cut", "a", {"fault": "cut", "after_events": 6}, rescued="whole"),
    vendor("truncated JSON", "a", {"fault": "truncate_json"}, rescued="whole"),
    vendor("wrong schema", "a", {"fault": "wrong_schema"}),
)
LONG = (vendor("500 for 42 s", "a", STATUS | {"status": 500}, dead=True, lasts=42.0),)
"""Until the breaker's cooldown has doubled to 40 s, in most runs a few seconds ago."""
RESUMES = (continued("a"),)
