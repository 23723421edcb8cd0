"""Short load runs against the sandbox itself, and with a router of their own, judged and written down."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.system


def run(out, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "load_tests.run", "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def direct(box, out) -> subprocess.CompletedProcess[str]:
    return run(out, "--profile", "direct", "--host", box.url, "--seconds", "3")


def test_a_run_writes_its_reports_and_judges_them(box, tmp_path):
    done = direct(box, tmp_path)
    assert "VERDICT: " in done.stdout, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["errors"] == 0
    assert set(summary["entries"]) == {
        *("chat", "chat stream", "chat stream first event", "embed", "complete"),
    }
    streams = summary["entries"]["chat stream"]["calls"]
    assert summary["entries"]["chat stream first event"]["calls"] == streams
    assert box.bill()["calls"] == summary["calls"] == summary["answered"]
    for name in ("report.html", "plot.png", "stats_stats.csv", "profile.yaml"):
        assert (tmp_path / name).stat().st_size > 0, name
    assert done.returncode == ("VERDICT: held" not in done.stdout)


OVERLOAD = """
users: 2
seconds: 2
rate: {0: 20}
arrivals: even
mix: {Chat: 4, Embed: 1}
routes: {assistant: gpt-4o-mini, embeddings: text-embedding-3-small}
faults:
  - at: 0
    rules:
      - {fault: status, status: 503, match: {path: /v1/embeddings}}
      - {fault: machine, seconds: 0.15}
"""


def test_an_open_loop_hides_neither_errors_nor_waits(box, tmp_path):
    """Three times more calls than can be served: all begin on schedule, and the last are seen to wait longest."""
    (tmp_path / "direct.yaml").write_text(OVERLOAD)
    options = ("--profile", str(tmp_path / "direct.yaml"), "--host", box.url, "--sandbox", box.url)
    done = run(tmp_path, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "VERDICT: broken (" in done.stdout
    assert "error share" in done.stdout.rpartition("VERDICT")[2]
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    entries = summary["entries"]
    assert entries["embed"]["errors"] == summary["errors"] == entries["embed"]["calls"] > 0
    assert 39 <= summary["calls"] <= 41
    # Two users who wait for their answers would have seen twice the time of service: 0.3 s.
    assert entries["chat"]["p95"] > 1.0
    assert summary["billed_usd"] > 0
    assert json.loads(box.ask("GET", "/sandbox/faults")[2]) == {"rules": []}


def test_a_run_that_cannot_begin_says_why(tmp_path):
    """A host without a sandbox for faults, or that is not ready, or no objectives: exit code 2, and no verdict."""
    done = run(tmp_path, "--profile", "vendor-outage", "--host", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "--sandbox" in done.stdout
    assert "VERDICT" not in done.stdout
    for options, word in (
        (("--host", "http://127.0.0.1:9", "--wait", "0.3"), "did not answer for 0.3 s"),
        (("--objectives", str(tmp_path / "mine.yaml")), "has no entry smoke"),
    ):
        (tmp_path / "mine.yaml").write_text("other: {error_share: 0}\n")
        done = run(tmp_path, "--profile", "smoke", *options)
        assert done.returncode == 2
        assert word in done.stdout.replace("\n", " ")
        assert "VERDICT" not in done.stdout


def untimed(profile: str, path: Path) -> Path:
    """What the profile must keep, but for seconds: how fast is a question to the machine."""
    objectives = yaml.safe_load(Path("load_tests/objectives.yaml").read_text())[profile]
    del objectives["times"]
    path.write_text(yaml.safe_dump({profile: objectives}))
    return path


def test_smoke_with_a_router_of_its_own_holds(tmp_path):
    """Without models, vendors or anything running, the smoke profile comes to a good verdict."""
    kept = untimed("smoke", tmp_path / "kept.yaml")
    options = ("--profile", "smoke", "--own", "--seconds", "3", "--objectives", str(kept))
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("VERDICT: held")


def test_when_a_vendor_dies_others_answer(tmp_path):
    """It refuses, breaks connections, falls silent: at least 99.9% of the calls struck by it are answered."""
    done = run(tmp_path, "--profile", "vendor-outage", "--seconds", "8")
    assert "VERDICT: " in done.stdout, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["struck"] >= 20
    assert summary["struck answered"] >= 0.999 * summary["struck"], done.stdout
    backends = summary["money"]["backends"]
    assert backends["first-chat"]
    assert backends["second-chat"]
    assert summary["errors"] == summary["misshapen"] == summary["late"] == 0, done.stdout
