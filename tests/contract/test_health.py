"""Probes: alive whatever fails, ready while a route can be served, and why not."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from wire_served import Answer, Vendor, said, served

from router.http1.pool import Pool
from router.runtime import StatusPage
from router.server import Server
from router.transport import fetch

CONFIG = """
ledger: {url: "postgresql://nobody@127.0.0.1:9/none", timeout: 200ms}
backends:
  paid: {api: openai, model: gpt-4o-mini, base: VENDOR/v1}
  own:
    api: torchserve
    model: chat
    base: VENDOR
    status: VENDOR/status
    price: {per_hour_usd: 1}
routes:
  paid: {task: chat, backends: [paid]}
  both: {task: chat, backends: [own, paid]}
"""
WELL = {"up": True, "models": {"chat": {"ready": True, "pending": 0}}}


def get(url: str, path: str) -> tuple[int, dict]:
    link = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    link.request("GET", path)
    answer = link.getresponse()
    found = answer.status, json.loads(answer.read())
    link.close()
    return found


def wait(url: str, status: int) -> dict:
    """What /readyz says once it has this status, and status pages were read."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found, said = get(url, "/readyz")
        if found == status and "not been read" not in str(said["unable"]):
            return said
        time.sleep(0.1)
    raise AssertionError(said)


PAGES = (
    b"",
    b"[" * 100_000,
    b"\xff",
    b"[]",
    b'{"up":"yes","models":[]}',
    b'{"up":true,"models":{"chat":1}}',
    b'{"up":true,"models":{"chat":{"ready":true,"pending":-1}}}',
    b'{"up":true,"models":{"chat":{"ready":null}}}',
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p[:40].decode("latin-1"))
def test_a_status_page_of_any_kind_is_read_or_none(page):
    """What cannot be read is no news; nothing is raised, so that the next look is taken."""

    async def look() -> StatusPage | None:
        async def say(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": page})

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        server, pool = Server(say), Pool()
        task = asyncio.create_task(server.serve(listener))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/status"
        try:
            return await fetch(pool, url, StatusPage, seconds=2)
        finally:
            await pool.close()
            server.stop()
            await task

    assert asyncio.run(look()) is None


def test_probes_while_everything_is_down(tmp_path):
    """Neither the books nor a backend: alive, not ready, each reason told. When the own one is well
    again, its route is served without a restart, and the paid one is still told as degraded."""
    vendor = Vendor()
    vendor.says(Answer(b"", 500))
    with served(tmp_path, CONFIG, vendor, {}) as url:
        down = wait(url, 503)
        assert get(url, "/livez") == (200, {"live": True})
        assert down["unable"] == {
            "paid": "the ledger is unreachable",
            "own": "down: its status page does not answer",
        }
        assert (down["routes"], down["draining"]) == ({"paid": [], "both": []}, False)
        vendor.says(said(WELL))
        well = wait(url, 200)
        assert well["routes"] == {"paid": [], "both": ["own"]}
        assert set(well["degraded"]) == {"paid", "both"}
        assert well["ledger"] == "unreachable"
