"""The page "How to add a paid API" does what it says: its module, its configuration, by DeepL's SDK."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import deepl
import pytest
import yaml

from tests.system.router.harness import ROOT, Router, ask, router

pytestmark = pytest.mark.system
PAGE = (ROOT / "docs" / "adding-an-api.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


class Glot(BaseHTTPRequestHandler):
    """The vendor of the page: German by a table, slow down when it is told to."""

    protocol_version = "HTTP/1.1"
    busy = False
    seen: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["x-glot-key"] != "glot-secret" or self.path != "/translate":
            self._send(403, {"reason": "who are you"})
        elif Glot.busy:
            self._send(429, {"reason": "slow down", "wait": 2})
        else:
            Glot.seen.append(body)
            words = {"Good morning": "Guten Morgen"}
            items = [{"text": words[text], "from": "en"} for text in body["q"]]
            self._send(200, {"items": items, "billed": sum(map(len, body["q"]))})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *given: Any) -> None:
        return


@contextmanager
def vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Glot) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    folder: Path = tmp_path_factory.mktemp("glot")
    (folder / "apis").mkdir()
    (folder / "apis" / "glot.py").write_text(block("python"))
    with vendor() as base:
        config = yaml.safe_load(block("yaml"))
        config["backends"]["glot"]["base"] = base
        env = {"ISOCOST_APIS": str(folder / "apis"), "GLOT_KEY": "glot-secret"}
        with router(folder, config, **env) as made:
            yield made


def client(running: Router) -> deepl.DeepLClient:
    deepl.http_client.max_network_retries = 0
    return deepl.DeepLClient("any", server_url=running.url)


def test_deepls_sdk_is_answered_by_the_new_api(running: Router) -> None:
    """Translated by the vendor of the page, and charged by what it says it billed."""
    found = client(running).translate_text(["Good morning"], source_lang="EN", target_lang="DE")
    assert [(t.text, t.detected_source_lang) for t in found] == [("Guten Morgen", "EN")]
    assert Glot.seen[-1] == {"engine": "neural", "q": ["Good morning"], "to": "de", "from": "en"}
    metrics = running.metrics()
    cost = sum(v for k, v in metrics.items() if k.startswith("isocost_cost_usd_total"))
    assert cost == pytest.approx(12 * 12e-6)


def test_what_it_cannot_honour_is_refused_with_its_reason(running: Router) -> None:
    """`unfit` reaches the client as a sentence."""
    with pytest.raises(deepl.DeepLException, match="glot has no formality"):
        client(running).translate_text(
            "Good morning", target_lang="DE", formality=deepl.Formality.MORE
        )
    with pytest.raises(deepl.DeepLException, match="no language to"):
        client(running).translate_text("Good morning", target_lang="IT")


def test_a_busy_vendor_is_left_alone_for_as_long_as_it_said(running: Router) -> None:
    """`wait` of the body becomes the pause of the backend."""
    Glot.busy = True
    try:
        with pytest.raises(deepl.DeepLException, match="slow down"):
            client(running).translate_text("Good morning", target_lang="DE")
        body = {"text": ["Good morning"], "target_lang": "DE"}
        plan = ask(f"{running.url}/v1/explain?path=/v2/translate", body)
        assert plan["candidates"][0]["left_by"] == "throttled", plan
    finally:
        Glot.busy = False
