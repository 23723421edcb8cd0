"""Asking TorchServe on loopback: ping, management, and one tiny real request."""

import http.client
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

WHITE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mP8zwABTAwUMQBJQQEPkWFcdwAAAABJRU5E"
    "rkJggg=="
)  # 8 x 8 pixels
CANARIES: dict[str, dict[str, Any]] = {
    "embed": {"texts": ["ready?"]},
    "chat": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0},
    "complete": {"prompt": "Hi", "max_tokens": 1, "temperature": 0},
    "classify": {"texts": ["ready?"]},
    "translate": {"texts": ["one"], "target": "en"},
    "speak": {"text": "Hi"},
    # A tenth of a second of silence, which no model is asked about: half a minute is the least that
    # one hears, and takes seconds.
    "transcribe": {"audio": "A" * 4264, "encoding": "pcm_s16le", "sample_rate_hz": 16000},
    "annotate": {"images": [WHITE], "features": [["labels", 1]]},
}


@dataclass(frozen=True, slots=True)
class Described:
    """What management says of one model."""

    workers: int  # that are READY
    pending: int
    queue_free: int
    pids: tuple[int, ...] = ()  # of the workers that are READY


class Probe:
    """Plain HTTP with short timeouts; every method answers, none raises for a sick server."""

    def __init__(
        self, port: int, management_port: int, asks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Loopback ports; `asks` are fields of a model's tiny request that suit it alone."""
        self._port, self._management_port = port, management_port
        self._asks = asks or {}

    def ping(self, key: str) -> bool:
        """Whether the server answers at all."""
        return _ask(self._port, "GET", "/ping", key, timeout=5)[0] == 200

    def describe(self, model: str, key: str) -> Described | None:
        """None while the model is not registered or management does not answer."""
        status, body = _ask(self._management_port, "GET", f"/models/{model}", key, timeout=5)
        try:
            said = json.loads(body)[0] if status == 200 else {}
            queue = said["jobQueueStatus"]
            ready = [worker for worker in said["workers"] if worker["status"] == "READY"]
            return Described(
                len(ready),
                int(queue["pendingRequests"]),
                int(queue["remainingCapacity"]),
                tuple(int(worker["pid"]) for worker in ready),
            )
        except (ValueError, LookupError, TypeError):
            return None

    def canary(self, model: str, task: str, key: str, timeout: float) -> bool | None:
        """Whether a tiny request was answered; None when the model was merely too busy to ask.

        A refusal by our handler is an answer: the worker read the request and said why.
        """
        body = json.dumps({"task": task, **CANARIES[task], **self._asks.get(model, {})}).encode()
        path = f"/predictions/{model}"
        status, answer = _ask(self._port, "POST", path, key, body=body, timeout=timeout)
        if status == 503 and b"ServiceUnavailableException" in answer:
            return None
        if status == 200:
            return b'"error"' not in answer
        return status == 400 and b'"code"' in answer and b'"message"' in answer


def _ask(
    port: int, method: str, path: str, key: str, *, timeout: float, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body; status 0 when there was no whole answer."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        link.request(method, path, body=body, headers=headers)
        answer = link.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        link.close()


def _handler(archive: Path) -> Mapping[str, Any]:
    """What an archive's model-config.yaml says under `handler:`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            config = yaml.safe_load(packed.read("model-config.yaml"))
        return dict(config.get("handler") or {})
    except (OSError, KeyError, ValueError, AttributeError, zipfile.BadZipFile, yaml.YAMLError):
        return {}


def canary_fields(archive: Path) -> dict[str, Any]:
    """Fields of the tiny request that depend on the model: a pair of languages that it knows."""
    languages = _handler(archive).get("translation") or {}
    pair = {
        field: tag
        for field, side in (("source", "sources"), ("target", "targets"))
        for tag in list(languages.get(side) or ())[-1:]
    }
    return pair if len(pair) == 2 else {}


def canary_task(archive: Path) -> str | None:
    """The cheapest task that an archive serves; None where its handler is not one of ours."""
    tasks = _handler(archive).get("task") or []
    asked = [tasks] if isinstance(tasks, str) else list(tasks)
    return next((task for task in CANARIES if task in asked), None)
