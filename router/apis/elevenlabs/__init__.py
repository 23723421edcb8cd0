"""ElevenLabs' wire, both directions: text to speech, whole and streamed.

Source: https://elevenlabs.io/docs/api-reference/text-to-speech/convert and the types of the
vendor's Python SDK 2.78, read 2026-11-23.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import ElevenLabs
from .door import ElevenLabsDoor

API: Api = ElevenLabs()
DOOR: Door = ElevenLabsDoor()
