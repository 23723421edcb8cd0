"""The smallest sensible JSON value for a JSON schema, for answers in a wanted form.

Covers what structured outputs allow: types, enum, const, properties, items, anyOf, $ref into the
same schema, and the bounds of numbers, strings and arrays. Recursion ends in null or [].
"""

from typing import Any

DEPTH = 8  # levels after which a recursive schema is cut short


def fill(schema: Any, text: str, known: dict[str, list[str]] | None = None) -> Any:
    """A value that the schema accepts; strings carry `text`.

    `known`: what properties of these names hold, as a list of strings or as one of their lines.
    """
    filled = _fill(schema, schema, text, 0)
    if known and isinstance(filled, dict):
        for name, part in schema.get("properties", {}).items():
            if name in known and _takes(part, "array", part.get("items", {})):
                filled[name] = known[name]
            elif name in known and _takes(part, "string"):
                filled[name] = "\n".join(known[name])
    return filled


def _takes(schema: Any, kind: str, items: Any = None) -> bool:
    return bool(schema.get("type") == kind and (items is None or items.get("type") == "string"))


def _fill(schema: Any, root: Any, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEPTH:
        return None
    if "$ref" in schema:
        return _fill(_target(root, str(schema["$ref"])), root, text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return _fill(schema[word][0], root, text, depth + 1)
    return _typed(schema, root, text, depth)


def _typed(schema: dict[str, Any], root: Any, text: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: _fill(part, root, text, depth + 1) for name, part in parts.items()}
    if kind == "array":
        size = max(int(schema.get("minItems", 1)), 0) if depth < DEPTH else 0
        return [_fill(schema.get("items", {}), root, text, depth + 1) for _ in range(size)]
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return text[: schema.get("maxLength", len(text))].ljust(int(schema.get("minLength", 0)), ".")


def _target(root: Any, pointer: str) -> Any:
    place = root
    for step in pointer.removeprefix("#").strip("/").split("/"):
        if step:
            place = place.get(step, {}) if isinstance(place, dict) else {}
    return place
