"""What is made from the chart and kept: its README and the snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.helm import golden, readme
from tests.system.helm.charts import CHART, PROFILES

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def test_readme_is_made_from_the_values() -> None:
    """`make chart` writes it anew."""
    assert (CHART / "README.md").read_text() == readme.text()


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_render_to_what_was_seen_last(name: str) -> None:
    """`make chart` takes a change over; review what it changed."""
    kept: Path = golden.GOLDEN / f"{name}.yaml"
    assert kept.read_text() == golden.text(name)


def _leaves(value: Any, schema: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Paths of the schema, and whether the values have them; and the other way round."""
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
    for name, inner in schema.get("properties", {}).items():
        here = f"{path}.{name}".strip(".")
        if here.split(".")[0] in {"global", "config"} or here == "sandbox.image":
            continue
        if here.endswith(("requests", "limits")):
            continue
        yield here, isinstance(value, dict) and name in value
        if isinstance(value, dict) and name in value:
            yield from _leaves(value[name], inner, here)


def test_schema_and_values_name_the_same() -> None:
    """Every value that the schema knows has a default and a comment; the schema refuses all others."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    documented = [value.path for value in readme.values()]
    optional = ("image.registry", "image.digest", "image.pullPolicy")
    for path, there in _leaves(values, SCHEMA):
        assert there or (".dev." in path and path.endswith(optional)), f"{path} has no default"
        told = any(other == path or other.startswith(f"{path}.") for other in documented)
        if there and not path.startswith("torchserve.defaults.rollingUpdate."):
            assert told, f"{path} has no comment"
