"""Dashboards and alerts as files: what they ask for exists, and nobody has to guess what to do."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards import LONG, SHORT, asked, narrowed, written
from tests.unit.router.test_metrics import published
from tests.unit.test_docs import _anchors

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(LONG.glob("*.json"))
ALERTS = sorted((ROOT / "helm" / "isocost" / "alerts").glob("*.yaml"))
RULES: list[dict[str, Any]] = [
    rule
    for file in ALERTS
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
# What TorchServe says of itself; recorded of a running one.
TORCHSERVE = (ROOT / "tests" / "system" / "observe" / "torchserve.txt").read_text()


def metrics_of(query: str) -> set[str]:
    """Names of metrics in a query, those of recording rules apart."""
    names = set(re.findall(r"\b(?:isocost|ts)_\w+", query))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if ":" not in name}


def known() -> set[str]:
    of_torchserve = set(re.findall(r"^# TYPE (\w+)", TORCHSERVE, re.MULTILINE))
    return set(published()) | of_torchserve


def test_dashboards_are_those_of_the_short_forms():
    """`make dashboards` writes nothing new, and no file is left over."""
    assert {file: file.read_text() for file in FILES} == written()
    assert {file.stem for file in FILES} == {"money", "promises", "backends", "torchserve"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_fit_the_page(file: Path):
    """Each has an id and a title of its own, stands within 24 columns, and on no other."""
    panels = json.loads(file.read_text())["panels"]
    assert len({p["id"] for p in panels}) == len({p["title"] for p in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([p["gridPos"] for p in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_ask_for_metrics_that_exist(file: Path):
    """A panel over a metric that does not exist shows nothing, for ever."""
    found = json.loads(file.read_text())
    queries = [t["expr"] for p in found["panels"] for t in p.get("targets", ())]
    assert queries
    for query in queries:
        assert metrics_of(query) <= known(), query
        assert query.count("isocost_") == query.count('job=~"$job"'), query
    names = {v["name"] for v in found["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(queries))) - {"__rate_interval", "__range"}
    assert used <= names
    assert {v["definition"] for v in found["templating"]["list"] if "definition" in v}


def test_every_metric_is_on_a_dashboard():
    """A metric that nobody looks at is a metric too many."""
    short = [
        query["of"]
        for file in SHORT.glob("*.yaml")
        for row in yaml.safe_load(file.read_text())["rows"]
        for panel in row["panels"]
        for query in asked(panel)
    ]
    shown = set().union(*map(metrics_of, short))
    assert set(published()) - shown == set()


def test_a_query_is_narrowed_to_the_job():
    """Every metric of the router, with and without labels, and none of the others."""
    assert narrowed('a_b{x="1"} + isocost_a / isocost_b{x="1"}') == (
        'a_b{x="1"} + isocost_a{job=~"$job"} / isocost_b{job=~"$job",x="1"}'
    )


def test_alerts_ask_for_metrics_that_exist():
    """A rule over a metric that does not exist never fires."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        assert metrics_of(re.sub(r"isocost:[\w:]+", "", rule["expr"])) <= known(), rule
        assert set(re.findall(r"isocost:[\w:]+", rule["expr"])) <= recorded


@pytest.mark.parametrize("rule", [r for r in RULES if "alert" in r], ids=lambda r: r["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]):
    """How bad, what happened, and the section of the runbook that tells what to check and do."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    said = rule["annotations"]
    assert said["summary"]
    assert said["description"].endswith(".")
    page, _, anchor = said["runbook_url"].partition("#")
    text = (ROOT / page).read_text()
    assert anchor in _anchors(text)
    section = re.split(r"^## .*$", text, flags=re.MULTILINE)
    mine = [part for part in section if f"`{rule['alert']}`" in part]
    assert len(mine) == 1
    for word in ("**Meaning.**", "**Check.**", "**Do.**"):
        assert word in mine[0], word
