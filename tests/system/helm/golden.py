"""What each profile renders to, kept beside the tests, so that a change of the chart shows in review."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.system.helm.charts import PROFILES, RENDERS, render

GOLDEN = Path(__file__).parent / "golden"


def text(name: str) -> str:
    """A profile's objects as YAML, without what is random and what other tests watch over."""
    documents = []
    for given in render(RENDERS[name]):
        document = json.loads(json.dumps(given))
        if document["kind"] == "Secret":
            document["data"] = dict.fromkeys(document["data"], "random")
        if document["kind"] == "PrometheusRule":
            document["spec"]["groups"] = ["as in alerts/"]
        if document["metadata"]["labels"]["app.kubernetes.io/component"] == "dashboard":
            continue
        documents.append(document)
    shown = yaml.safe_dump_all(documents, width=120)
    return re.sub(r"(isocost.io/config): [0-9a-f]{64}", r"\1: checksum", shown)


def files() -> dict[Path, str]:
    """All of them."""
    return {GOLDEN / f"{name}.yaml": text(name) for name in PROFILES}
