"""OpenAI's wire, both directions: chats, responses, completions, embeddings, speech, hearing.

Bodies of clients who speak it pass through to backends that speak it: only the model's name, the
output maximum and the wish for usage are spliced into the raw JSON; every other value is carried
as undecoded bytes.

Source: https://platform.openai.com/docs/api-reference, read 2026-11-22.
"""

from __future__ import annotations

from router.core.api import Api, Door

from .backend import OpenAI
from .door import OpenAIDoor

API: Api = OpenAI()
DOOR: Door = OpenAIDoor()
