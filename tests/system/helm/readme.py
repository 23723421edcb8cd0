"""The chart's README: a table of all values, from the comments in values.yaml that begin with `# --`."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import yaml

from tests.system.helm.charts import CHART

HEAD = """\
# The chart of Isocost

Routers, TorchServe by groups of models, and all around them. [How to use it](../../docs/kubernetes.md) tells the rest; this page is made from the comments in
[values.yaml](values.yaml) by `make chart`.

| profile | what |
|---|---|
{profiles}
"""


TABLE = ("| value | default | meaning |", "|---|---|---|")


class Value(NamedTuple):
    """One documented value: its path, its default, and what its comment says."""

    path: str
    default: Any
    meaning: str


def values() -> list[Value]:
    """All documented values, in the file's order."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    found, path, told = [], [], []
    for line in text.splitlines():
        comment = re.match(r" *# (-- )?(.*)", line)
        key = re.match(r"( *)([A-Za-z]+):", line)
        if comment:
            told = [comment[2]] if comment[1] else [*told, comment[2]] if told else []
        elif key:
            path = [*path[: len(key[1]) // 2], key[2]]
            if told:
                default = defaults
                for part in path:
                    default = default[part]
                found.append(Value(".".join(path), default, " ".join(told)))
            told = []
        else:
            told = []
    return found


def text() -> str:
    """README.md as it should be."""
    profiles = [
        f"| [{path.name}]({path.name}) | {path.read_text().strip('# ').partition('. ')[0].splitlines()[0]} |"
        for path in sorted(CHART.glob("values-*.yaml"))
    ]
    sections: dict[str, list[str]] = {}
    for value in values():
        section = value.path.partition(".")[0] if "." in value.path else ""
        row = f"| `{value.path}` | `{json.dumps(value.default)}` | {_escaped(value.meaning)} |"
        sections.setdefault(section, []).append(row)
    blocks = [
        "\n".join([f"## {f'`{name}`' if name else 'The whole'}", "", *TABLE, *rows])
        for name, rows in sections.items()
    ]
    return "\n\n".join([HEAD.format(profiles="\n".join(profiles)).strip(), *blocks]) + "\n"


def _escaped(meaning: str) -> str:
    return meaning.replace("|", "\\|")
