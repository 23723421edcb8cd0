"""A short load run against the sandbox itself, judged and written down."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


def run(box, out, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "load_tests.run", "--profile", "direct", "--host", box.url]
    command += ["--seconds", "3", "--out", str(out)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_run_writes_its_reports_and_judges_them(box, tmp_path):
    done = run(box, tmp_path)
    assert "VERDICT: " in done.stdout, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["errors"] == 0
    assert set(summary["entries"]) == {"chat", "chat stream", "first event", "embed", "complete"}
    assert summary["entries"]["first event"]["calls"] == summary["entries"]["chat stream"]["calls"]
    # Calls that were under way when the time was over are on the bill and not in the summary.
    assert 0 <= box.bill()["calls"] - summary["calls"] <= 8
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "stats_stats.csv").exists()
    assert done.returncode == ("VERDICT: held" not in done.stdout)


def test_errors_break_the_verdict(box, tmp_path):
    box.faults({"fault": "status", "status": 503, "match": {"path": "/v1/embeddings"}})
    done = run(box, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "VERDICT: broken (" in done.stdout
    assert "error share" in done.stdout.rpartition("VERDICT")[2]
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["entries"]["embed"]["errors"] == summary["errors"] > 0
