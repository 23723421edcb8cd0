"""TorchServe's wire with the bodies of our own handlers, both directions, all eight tasks.

The bodies are those of `docs/decisions/0001-rooms-share-files-and-http.md`, the errors around them
are TorchServe's (`{"code": 503, "type": "...", "message": "..."}`).

Source: https://docs.pytorch.org/serve/inference_api.html, read 2026-11-23.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import TorchServe
from .door import TorchServeDoor

API: Api = TorchServe()
DOOR: Door = TorchServeDoor()
