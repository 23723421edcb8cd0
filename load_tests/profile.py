"""A load profile: how much, for how long, doing what, while what fails.

Strict: an unknown field is refused.
Two ways of asking:
  closed   `users` ask, wait for the answer, think for `wait` seconds, ask again
  open     `rate`: calls begin on schedule, answered or not, and are timed from their moment on it
Moments (`rate`, `faults`) are seconds from the start; another length moves them in proportion.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

HERE = Path(__file__).parent / "profiles"
ROUTES = (
    *("assistant", "writer", "embeddings", "classifier"),
    *("translator", "voice", "transcriber", "eyes"),
)


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """Which faults the sandbox has from a moment on; none ends them. Rules: sandbox/faults.py."""

    at: float
    rules: list[dict[str, Any]] = []


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """`wait`: the least and most seconds between two calls of one user (closed).

    `rate`: calls per second from each moment on, over all users together (open). `mix`: kinds of
    calls by weight. `criticality`: words of x-isocost-criticality by weight. `expected`: statuses
    that are right answers, for a criticality or for `any`. `config`: of the sandbox and router that
    the run starts for itself. `deadline`: seconds, sent with each call.
    """

    users: int
    seconds: int
    mix: dict[str, float]
    spawn_per_second: float = 100.0
    wait: tuple[float, float] = (0.0, 0.0)
    rate: dict[float, float] = {}
    arrivals: Literal["poisson", "even"] = "poisson"
    max_tokens: int = 32
    long_share: float = 0.0
    criticality: dict[str, float] = {}
    deadline: float | None = None
    expected: dict[str, list[int]] = {}
    faults: list[Step] = []
    config: str | None = None
    pace: Literal["instant", "realistic"] = "realistic"
    routes: dict[str, str] = {}

    def route(self, name: str, environment: Mapping[str, str]) -> str:
        """The model name to send for a route; ISOCOST_ROUTE_<NAME> goes first."""
        return environment.get(f"ISOCOST_ROUTE_{name.upper()}") or self.routes.get(name, name)

    def lasting(self, seconds: int) -> "Profile":
        """The same profile, shorter or longer, with its moments in proportion."""
        scale = seconds / self.seconds
        return msgspec.structs.replace(
            self,
            seconds=seconds,
            rate={at * scale: rate for at, rate in self.rate.items()},
            faults=[Step(step.at * scale, step.rules) for step in self.faults],
        )

    def right(self, status: int, criticality: str) -> bool:
        """True when a refusal with this status is what should happen."""
        return status in (*self.expected.get(criticality, ()), *self.expected.get("any", ()))


def read_profile(path: Path) -> Profile:
    """Raises msgspec.ValidationError naming the field."""
    return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Profile)


def write_profile(profile: Profile, path: Path) -> Path:
    """What `read_profile` reads."""
    told = msgspec.to_builtins(profile, builtin_types=(float,), str_keys=False)
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return path


def chosen(environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile of ISOCOST_PROFILE: a file, or a name in profiles/."""
    named = environment.get("ISOCOST_PROFILE") or "smoke"
    path = Path(named)
    return read_profile(path if path.suffix else HERE / f"{named}.yaml")
