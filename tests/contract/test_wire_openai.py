"""OpenAI's wire beyond texts: speech, transcriptions, images, responses; by recorded shapes."""

from __future__ import annotations
