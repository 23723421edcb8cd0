"""Talks to the sandbox's own paths: faults at their moments, and its bill."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from load_tests.profile import Step

PATIENCE = 5.0


def strike(sandbox: str, steps: Sequence[Step], sleep: Callable[[float], Any]) -> None:
    """Set each step's rules at its moment, counted from now; `sleep` waits."""
    passed = 0.0
    for step in sorted(steps, key=lambda step: step.at):
        sleep(max(step.at - passed, 0.0))
        passed = max(step.at, passed)
        ask(f"{sandbox}/sandbox/faults", "PUT", {"rules": step.rules})


def heal(sandbox: str) -> None:
    """End all faults."""
    ask(f"{sandbox}/sandbox/faults", "DELETE")


def billed(sandbox: str) -> int:
    """What the vendors have on their bills so far, in pico-dollars."""
    return int(ask(f"{sandbox}/sandbox/bill")["total_pico_usd"])


def ask(url: str, method: str = "GET", told: Any = None) -> Any:
    """JSON in, JSON out. Raises OSError."""
    data = None if told is None else json.dumps(told).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - named by the user
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
        return json.loads(answer.read())
