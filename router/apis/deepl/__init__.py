"""DeepL's wire, both directions: translation of texts.

Source: DeepL's OpenAPI description 3.11.0 (https://github.com/DeepLcom/openapi, commit d161fd2) and
https://developers.deepl.com, read 2026-11-23.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import DeepL
from .door import DeepLDoor

API: Api = DeepL()
DOOR: Door = DeepLDoor()
