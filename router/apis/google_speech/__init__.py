"""Google Speech-to-Text's wire, both directions: `speech:recognize`, versions 1 and 2.

A backend speaks version 1; at a base such as `https://speech.googleapis.com/v2/projects/p/
locations/global` it speaks version 2. Bodies of clients who speak the same version pass through.

Source: https://cloud.google.com/speech-to-text/docs/reference/rest, read 2026-11-23.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import GoogleSpeech
from .door import SpeechDoor

API: Api = GoogleSpeech()
DOOR: Door = SpeechDoor()
