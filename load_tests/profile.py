"""A load profile: how many users, for how long, doing what. Strict: an unknown field is refused."""

from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

ROUTES = ("assistant", "writer", "embeddings", "classifier")


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """`wait` are the least and most seconds between two calls of one user."""

    users: int
    spawn_per_second: float
    seconds: int
    wait: tuple[float, float]
    max_tokens: int
    weights: dict[str, int]
    routes: dict[str, str] = {}

    def route(self, name: str, environment: dict[str, str]) -> str:
        """The model name to send for a route; ISOCOST_ROUTE_<NAME> goes first."""
        return environment.get(f"ISOCOST_ROUTE_{name.upper()}") or self.routes.get(name, name)


def read_profile(path: Path) -> Profile:
    """Raises msgspec.ValidationError naming the field."""
    return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Profile)
