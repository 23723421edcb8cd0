"""A real sandbox process, and the official SDK that talks to it."""

import contextlib
import http.client
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

ROOT = Path(__file__).parents[3]
KEY = "sk-sandbox-tests"


class Box:
    """A sandbox process and its control paths."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rsplit(":", 1)[1])

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def bill(self) -> dict[str, Any]:
        return json.loads(self.ask("GET", "/sandbox/bill")[2])

    def journal(self) -> list[dict[str, Any]]:
        return json.loads(self.ask("GET", "/sandbox/journal")[2])["requests"]

    def faults(self, *rules: dict[str, Any]) -> None:
        status, _, body = self.ask("PUT", "/sandbox/faults", {"rules": list(rules)})
        assert status == 200, body

    def tell(self, **answers: Any) -> None:
        status, _, body = self.ask("PUT", "/sandbox/answers", answers)
        assert status == 200, body

    def quotas(self, **quotas: dict[str, int]) -> None:
        status, _, body = self.ask("PUT", "/sandbox/quotas", quotas)
        assert status == 200, body

    def lines(self) -> list[dict[str, Any]]:
        return self.bill()["lines"]

    def reset(self) -> None:
        for path in ("bill", "journal", "faults", "answers", "quotas"):
            self.ask("DELETE", f"/sandbox/{path}")

    def eventually(self, condition: Callable[[], Any], seconds: float = 3.0) -> Any:
        """The condition's first true value."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come true in time"
            time.sleep(0.01)
        return found


@contextlib.contextmanager
def running(*options: str) -> Iterator[Box]:
    """A sandbox on a free port, stopped by SIGTERM."""
    command = [sys.executable, "-m", "load_tests.sandbox", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sandbox ready on "), line
        yield Box(process, line.split()[3])
    finally:
        process.terminate()
        assert process.wait(5) == 0


@pytest.fixture(scope="session")
def shared_box() -> Iterator[Box]:
    with running() as box:
        yield box


@pytest.fixture
def box(shared_box: Box) -> Box:
    """The sandbox with an empty bill and journal and no faults."""
    shared_box.reset()
    return shared_box


@pytest.fixture
def client(box: Box) -> Iterator[openai.OpenAI]:
    """The official SDK, unmodified."""
    with openai.OpenAI(api_key=KEY, base_url=f"{box.url}/v1", max_retries=0, timeout=5) as sdk:
        yield sdk


SCHEMAS = Path(__file__).with_name("schemas")


@pytest.fixture
def valid() -> Callable[[str, str, Any], None]:
    """Checks an answer against a type of the vendor's own document."""

    def check(vendor: str, name: str, answer: Any) -> None:
        document = json.loads((SCHEMAS / f"{vendor}.json").read_text())
        assert name in document["$defs"]
        schema = {"$ref": f"#/$defs/{name}", "$defs": document["$defs"]}
        jsonschema.Draft202012Validator(schema).validate(answer)

    return check


def picture(width: int = 64, height: int = 48, colour: tuple[int, int, int] = (200, 30, 10)):
    """A PNG of one colour."""
    row = b"\0" + bytes(colour) * width
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.fixture
def png() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def started() -> Callable[..., contextlib.AbstractContextManager[Box]]:
    return running
