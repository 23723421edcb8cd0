"""Reading the file: every fault is named by its path, its line and a suggestion."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from router.config.fields import ConfigError
from router.config.whole import Config


def parse(text: str, *, source: str = "isocost.yaml") -> Config:
    """The configuration in *text*. Raises ConfigError with every fault."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{source}: not YAML: {_unread(exc)}") from None
    faults = list(_doubled(node, (), set()))
    try:
        config = Config.model_validate(data if data is not None else {})
    except ValidationError as exc:
        faults += [_fault(error, node) for error in exc.errors()]
    if faults:
        raise ConfigError(f"{source}:\n" + "\n".join(f"  {fault}" for fault in faults)) from None
    return config


def _unread(exc: Exception) -> str:
    """What is wrong and where, without the line itself: there may be a password in it."""
    mark = getattr(exc, "problem_mark", None)
    if mark is None:
        return type(exc).__name__
    wrong = getattr(exc, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {wrong}"


def read(path: Path) -> Config:
    """The configuration in file *path*. Raises ConfigError."""
    try:
        text = path.read_text()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not text in UTF-8: {exc}") from exc
    return parse(text, source=str(path))


def _doubled(node: Any, where: tuple[str, ...], walked: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML would silently keep the last."""
    if not isinstance(node, yaml.MappingNode) or id(node) in walked:
        return
    walked.add(id(node))
    seen: set[str] = set()
    for key, value in node.value:
        path = (*where, str(key.value))
        if key.value in seen and isinstance(key, yaml.ScalarNode):
            yield f"{'.'.join(path)} (line {key.start_mark.line + 1}): stands there twice"
        elif isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
        yield from _doubled(value, path, walked)


def _fault(error: Any, node: yaml.Node | None) -> str:
    where = [str(part) for part in error["loc"]]
    path, line = ".".join(where) or "(top)", _line(node, where)
    at = f"{path} (line {line})" if line else path
    if error["type"] == "extra_forbidden":
        known = _known(where[:-1])
        near = get_close_matches(where[-1], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
        return f"{at}: unknown key{hint}"
    if error["type"] == "missing":
        return f"{at}: is missing"
    return f"{at}: {error['msg'].removeprefix('Value error, ')}"


def _line(node: yaml.Node | None, where: list[str]) -> int:
    line = 0
    for part in where:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _known(where: list[str]) -> list[str]:
    """The keys that the schema knows at a path."""
    schema = Config.model_json_schema()
    node: Any = schema
    for part in where:
        node = _resolve(schema, node)
        if "properties" in node and part in node["properties"]:
            node = node["properties"][part]
        elif "additionalProperties" in node:
            node = node["additionalProperties"]
        elif "items" in node:
            node = node["items"]
    return list(_resolve(schema, node).get("properties", ()))


def _resolve(schema: Any, node: Any) -> Any:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            node = option
    if "$ref" in node:
        return schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
