"""Google Vision's wire, both directions: `POST /v1/images:annotate`.

Bodies of clients who speak it pass through to backends that speak it. The other wires get what the
hub holds of it: labels, text, faces, objects, landmarks, logos. `base` may name a project and a
location (`.../v1/projects/p/locations/eu`), which the path then begins with.

Source: https://cloud.google.com/vision/docs/reference/rest; discovery document of revision
20261016; read 2026-11-23.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import GoogleVision
from .door import VisionDoor

API: Api = GoogleVision()
DOOR: Door = VisionDoor()
