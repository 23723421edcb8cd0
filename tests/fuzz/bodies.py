"""A good body for every path of every door."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any

WAV = (
    b"RIFF" + struct.pack("<I", 36 + 3200) + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    + b"data" + struct.pack("<I", 3200) + bytes(3200)
)  # fmt: skip
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)
SAID, SEEN = b64encode(WAV).decode(), b64encode(PNG).decode()
FORM = "multipart/form-data; boundary=xx"


def form(fields: dict[str, Any]) -> bytes:
    parts = [
        b'--xx\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n' % WAV
    ]
    for name, value in fields.items():
        head = f'--xx\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(f"{head}{text}\r\n".encode("utf-8", "replace"))
    return b"".join(parts) + b"--xx--\r\n"


MESSAGES = [{"role": "user", "content": "hi"}]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "chat", "messages": MESSAGES, "temperature": 0.5, "n": 1},
    "/v1/completions": {"model": "complete", "prompt": "Once", "max_tokens": 5, "stop": ["."]},
    "/v1/embeddings": {"model": "embed", "input": ["a", "b"], "encoding_format": "float"},
    "/v1/responses": {"model": "chat", "input": [{"role": "user", "content": "hi"}], "tools": []},
    "/v1/audio/speech": {"model": "speak", "input": "hi", "voice": "alloy", "speed": 1},
    "/v1/audio/transcriptions": {"model": "transcribe", "language": "en", "temperature": "0"},
    "/v1/classify": {"model": "classify", "input": "hi", "labels": ["a", "b"]},
    "/v2/translate": {"text": ["hi"], "target_lang": "DE", "source_lang": "EN"},
    "/v1/text-to-speech/{voice_id}": {
        "text": "hi",
        "model_id": "m",
        "voice_settings": {"speed": 1},
    },
    "/v1/text-to-speech/{voice_id}/stream": {"text": "hi"},
    "/v1/text-to-speech/{voice_id}/with-timestamps": {"text": "hi"},
    "/v1/text-to-speech/{voice_id}/stream/with-timestamps": {"text": "hi"},
    "/v1/images:annotate": {
        "requests": [
            {"image": {"content": SEEN}, "features": [{"type": "TEXT_DETECTION", "maxResults": 3}]}
        ]
    },
    "/v1/speech:recognize": {
        "config": {"languageCode": "en-US", "encoding": "LINEAR16", "sampleRateHertz": 16000},
        "audio": {"content": SAID},
    },
    "/v2/projects/{project}/locations/{location}/recognizers/{recognizer}:recognize": {
        "config": {"autoDecodingConfig": {}, "languageCodes": ["en-US"], "model": "long"},
        "content": SAID,
    },
    "/predictions/{model}": {"task": "translate", "texts": ["hi"], "target": "de", "source": "en"},
}
GOOD |= {
    f"/v1/projects/{{project}}{between}/images:annotate": GOOD["/v1/images:annotate"]
    for between in ("", "/locations/{location}")
}
PARAMS = {
    "model": "translate",
    "voice_id": "alloy",
    "project": "p",
    "location": "global",
    "recognizer": "_",
}


def filled(pattern: str) -> str:
    """The path, with a word in each place of the pattern."""
    for name, value in PARAMS.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def encoded(pattern: str, body: Any) -> tuple[bytes, str]:
    """*body* as it travels to *pattern*, and its content type."""
    if pattern == "/v1/audio/transcriptions" and isinstance(body, dict):
        return form(body), FORM
    return json.dumps(body).encode(), "application/json"
