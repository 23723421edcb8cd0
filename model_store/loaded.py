"""What the supervisor of this machine says is loaded: its status page, or nothing if it is down."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

PORT = 8084  # the supervisor's own default
PATIENCE = 1.0  # seconds; it is on this machine


@dataclass(frozen=True)
class Loaded:
    """By archive name: whether the model is ready. `device` is where the workers run."""

    up: bool = False
    device: str | None = None
    models: Mapping[str, bool] = field(default_factory=dict)

    def state(self, name: str) -> str | None:
        """`ready`, `starting` or `no`; None where no supervisor answers."""
        if not self.up:
            return None
        if name not in self.models:
            return "no"
        return "ready" if self.models[name] else "starting"


def ask_supervisor(port: int = PORT) -> Loaded:
    """One look at `GET /status` on loopback; whatever else answers there counts as nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=PATIENCE) as answer:
            said = json.loads(answer.read())
        models = {str(name): bool(each["ready"]) for name, each in said["models"].items()}
        return Loaded(up=bool(said["up"]), device=str(said["device"]), models=models)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Loaded()
