"""Alert rules in the hands of Prometheus' own tool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import MISSING, ROOT, program

RULES = sorted((ROOT / "helm" / "isocost" / "alerts").glob("*.yaml"))
TESTS = Path(__file__).parent / "alerts"
needs_promtool = pytest.mark.skipif(program("promtool") is None, reason=MISSING)


def promtool(*words: str) -> str:
    found = program("promtool")
    assert found
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@needs_promtool
def test_rules_are_read_without_a_complaint():
    """Syntax and functions, by Prometheus itself."""
    assert "FAILED" not in promtool("check", "rules", *map(str, RULES))


@needs_promtool
@pytest.mark.parametrize("rules", RULES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should(rules: Path):
    """Over made-up hours: each fires, with its text, and is quiet where it should be."""
    promtool("test", "rules", str(TESTS / rules.name))


@pytest.mark.parametrize("rules", RULES, ids=lambda file: file.stem)
def test_each_alert_is_tried_both_ways(rules: Path):
    """For each alert of a file there is a time at which it fires, and one at which it does not."""
    groups = yaml.safe_load(rules.read_text())["groups"]
    named = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tried: dict[bool, set[str]] = {True: set(), False: set()}
    tests: list[dict[str, Any]] = yaml.safe_load((TESTS / rules.name).read_text())["tests"]
    for test in tests:
        for one in test.get("alert_rule_test", ()):
            tried[bool(one["exp_alerts"])].add(one["alertname"])
    assert named
    assert tried == {True: named, False: named}
