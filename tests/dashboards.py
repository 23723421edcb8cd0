"""Writes helm/isocost/dashboards/*.json from the short form in helm/dashboards/*.yaml.

    python -m tests.dashboards

A panel says what it asks (`of`, or several `queries`) and how it is shown (`kind`). Each metric of
the router is narrowed to the job that the dashboard shows. `may_be_empty` marks queries that a
healthy system answers with nothing; the tests expect data of all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SHORT = ROOT / "helm" / "dashboards"
LONG = ROOT / "helm" / "isocost" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
KINDS = {
    "stat": "stat",
    "lines": "timeseries",
    "bars": "bargauge",
    "table": "table",
    "states": "state-timeline",
    "heatmap": "heatmap",
}
NAMES = {
    "route": "isocost_route_backends",
    "backend": "isocost_backend_info",
    "team": "isocost_team_cost_usd_total",
}
COLOURS = ("red", "yellow", "green")
HEIGHT = {"stat": 4}
Json = dict[str, Any]


def narrowed(query: str) -> str:
    """The query for the chosen job alone."""

    def add(found: re.Match[str]) -> str:
        inner = (found[2] or "")[1:-1]
        return f'{found[1]}{{job=~"$job"{"," + inner if inner else ""}}}'

    return re.sub(r"\b(isocost_\w+)(\{[^}]*\})?", add, query)


def asked(panel: Json) -> list[Json]:
    """The queries of a panel, in its short form."""
    return panel.get("queries") or [panel]


def _targets(panel: Json) -> Iterator[Json]:
    table = panel["kind"] in {"table", "bars", "stat"}
    for letter, query in zip("ABCDEFGH", asked(panel), strict=False):
        target = {
            "refId": letter,
            "datasource": SOURCE,
            "expr": narrowed(query["of"]),
            "legendFormat": query.get("legend", "__auto"),
            "range": not table,
            "instant": table,
        }
        if panel["kind"] == "table":
            target["format"] = "table"
        if panel["kind"] == "heatmap":
            target["format"] = "heatmap"
        if query.get("exemplars"):
            target["exemplar"] = True
        yield target


def _defaults(panel: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if "warn" in panel:
        steps.append({"color": "yellow", "value": panel["warn"]})
    if "bad" in panel:
        steps.append({"color": "red", "value": panel["bad"]})
    defaults: Json = {
        "unit": panel.get("unit", "short"),
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel["kind"] == "lines":
        custom: Json = {"lineWidth": 1, "fillOpacity": 25 if panel.get("stack") else 5}
        if panel.get("stack"):
            custom["stacking"] = {"mode": "normal", "group": "A"}
        if "bad" in panel:
            custom["thresholdsStyle"] = {"mode": "line"}
        defaults |= {"custom": custom, "min": 0}
    if panel["kind"] == "bars":
        defaults |= {"min": 0, "max": 1}
    if names := panel.get("names"):
        # The worst first where there are three, as of breakers; else 0 is the bad one.
        colours = COLOURS[::-1] if len(names) == 3 else ("red", "green")
        options = {
            str(value): {"text": text, "color": colours[value], "index": value}
            for value, text in names.items()
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    return defaults


def _overrides(panel: Json) -> list[Json]:
    dashed = [
        letter
        for letter, query in zip("ABCDEFGH", asked(panel), strict=False)
        if query.get("dashed")
    ]
    style = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}
    return [
        {"matcher": {"id": "byFrameRefID", "options": letter}, "properties": [style]}
        for letter in dashed
    ]


def _panel(panel: Json, number: int, place: Json) -> Json:
    made: Json = {
        "id": number,
        "type": KINDS[panel["kind"]],
        "title": panel["title"],
        "datasource": SOURCE,
        "gridPos": place,
        "targets": list(_targets(panel)),
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": {},
    }
    if "text" in panel:
        made["description"] = panel["text"]
    if panel["kind"] == "lines":
        made["options"] = {
            "tooltip": {"mode": "multi", "sort": "desc"},
            "legend": {"displayMode": "list", "placement": "bottom", "calcs": []},
        }
    if panel["kind"] == "table":
        named = {f"Value #{t['refId']}": t["legendFormat"] for t in made["targets"]}
        only = len(named) == 1
        options = {
            "renameByName": {} if only else named,
            "excludeByName": {"Time": True, **({"Value": True} if only else {})},
        }
        made["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": options},
        ]
    if panel["kind"] == "heatmap":
        made["options"] = {"calculate": False, "yAxis": {"unit": panel.get("unit", "short")}}
    if panel["kind"] == "bars":
        made["options"] = {"orientation": "horizontal", "displayMode": "gradient"}
    return made


def _variables(names: list[str]) -> list[Json]:
    made: list[Json] = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    ]
    for name, metric in [("job", "isocost_build_info"), *[(n, NAMES[n]) for n in names]]:
        chosen = "" if name == "job" else '{job=~"$job"}'
        query = f"label_values({metric}{chosen}, {name})"
        made.append(
            {
                "name": name,
                "type": "query",
                "datasource": SOURCE,
                "query": {"query": query, "refId": name},
                "definition": query,
                "refresh": 2,
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            }
        )
    return made


def dashboard(short: Json) -> Json:
    """What Grafana loads."""
    panels: list[Json] = []
    y = 0
    for row in short["rows"]:
        at = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row["title"], "collapsed": False,
             "gridPos": at, "panels": []}
        )  # fmt: skip
        y, x, height = y + 1, 0, 0
        for panel in row["panels"]:
            width = panel["width"]
            if x + width > 24:
                x, y, height = 0, y + height, 0
            tall = HEIGHT.get(panel["kind"], 8)
            place = {"h": tall, "w": width, "x": x, "y": y}
            panels.append(_panel(panel, len(panels) + 1, place))
            x, height = x + width, max(height, tall)
        y += height
    return {
        "uid": short["uid"],
        "title": short["title"],
        "description": short["description"],
        "tags": ["isocost"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables(short["variables"])},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "tags": ["isocost"], "title": "Isocost", "asDropdown": True,
             "keepTime": True, "includeVars": True}
        ],
        "panels": panels,
    }  # fmt: skip


def written() -> dict[Path, str]:
    """Every file as it should be."""
    return {
        LONG / f"{file.stem}.json": json.dumps(
            dashboard(yaml.safe_load(file.read_text())), indent=1
        )
        + "\n"
        for file in sorted(SHORT.glob("*.yaml"))
    }


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
