"""What a pipeline is built in: everything that is not in the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from router.admin.leases import Leases
from router.core.api import Endpoint
from router.core.gate import Clock
from router.core.service import Service
from router.google_token import unasked
from router.layers.observe import Record
from router.ledger.ledger import Ledger
from router.secrets import Secret

Send = Callable[[Endpoint], Service]
"""Makes the leaf service, which does the HTTP."""


class World(msgspec.Struct, frozen=True):
    """The surroundings; a test brings its own."""

    folder: Path
    """Relative paths of the configuration start here."""
    env: Mapping[str, str]
    now: Clock
    send: Send
    record: Record
    sandbox: bool = False
    """Backends whose key is not set may use their sandbox instead."""
    exchange: Mapping[str, float] = {}
    """USD per unit of other currencies; filled from the configuration."""
    ledger: Callable[[], Ledger | None] = lambda: None
    """Where money is kept, once it is open."""
    unreachable: Literal["refuse", "local_only"] = "refuse"
    """What to do while it is away; filled from the configuration."""
    leases: Callable[[], Leases | None] = lambda: None
    """Where replicas share the rates of keys, once it is open."""
    wall: Clock = time.time
    """Unix seconds, at which keys expire."""
    guarded: bool = False
    """Others than this machine can reach the router: nobody is served without a key."""
    token: Callable[[Path], Secret] = unasked
    """The token of a service account in a file."""
