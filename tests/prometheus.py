"""Debian's Prometheus for tests and for `make observe`, without installing anything.

    python -m tests.prometheus fetch     into var/prometheus; says why when it cannot, and fails never
    python -m tests.prometheus serve     scrape the running router, with the alerts of the chart

A `prometheus` and `promtool` on the PATH are used as they are. Else Debian's package is downloaded by
apt, which checks its signature, and unpacked: its programs need nothing of the rest. Where there is
no apt, tests that need them are skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "var" / "prometheus"
HERE = ROOT / "helm" / "observe"
MISSING = "no Prometheus here: install it, or run `make prometheus` where apt is"


def program(name: str) -> str | None:
    """The program called *name*, from the PATH or as fetched; None when there is none."""
    fetched = FOLDER / "usr" / "bin" / name
    return shutil.which(name) or (str(fetched) if fetched.exists() else None)


def fetch() -> str:
    """Why there is still none; "" when both programs are there."""
    if program("prometheus") and program("promtool"):
        return ""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "apt-get and dpkg-deb are not here"
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        # Lists of its own where the system has none: reading those needs no root, filling them does.
        lists = Path(folder) / "lists"
        (lists / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder}/cache"]
        own += ["-o", "Debug::NoLocking=1"]
        wanted = ["download", "prometheus"]
        if _run(["apt-get", *wanted], folder):
            said = _run(["apt-get", *own, "update"], folder)
            said = said or _run(["apt-get", *own, *wanted], folder)
            if said:
                return said
        shutil.rmtree(FOLDER, ignore_errors=True)
        (package,) = Path(folder).glob("prometheus_*.deb")
        return _run(["dpkg-deb", "-x", str(package), str(FOLDER)], folder)


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


def serve(port: int, router: str, torchserve: str) -> None:
    """Prometheus in the foreground, until Ctrl-C."""
    found = program("prometheus")
    if found is None:
        sys.exit(MISSING)
    data = ROOT / "var" / "observe"
    data.mkdir(parents=True, exist_ok=True)
    text = (HERE / "prometheus.yaml").read_text()
    text = text.replace("127.0.0.1:8080", router).replace("127.0.0.1:8087", torchserve)
    text = text.replace("../isocost/alerts", str(ROOT / "helm" / "isocost" / "alerts"))
    config = data / "prometheus.yaml"
    config.write_text(text)
    print(f"Prometheus: http://127.0.0.1:{port}  (scrapes {router} and {torchserve})", flush=True)
    command = [found, f"--config.file={config}", f"--storage.tsdb.path={data / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    command += ["--enable-feature=exemplar-storage"]
    os.execv(found, command)


def main() -> int:
    options = argparse.ArgumentParser(prog="tests.prometheus")
    options.add_argument("what", choices=("fetch", "serve"))
    options.add_argument("--port", type=int, default=9090)
    options.add_argument("--router", default="127.0.0.1:8080")
    options.add_argument("--torchserve", default="127.0.0.1:8087")
    given = options.parse_args()
    if given.what == "serve":
        serve(given.port, given.router, given.torchserve)
    if said := fetch():
        print(f"Prometheus was not fetched, its tests will be skipped: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
