"""Findings of the hub as `AnnotateImageResponse`s.

What only the vendor knows (ids of entities, locales, words and symbols, likelihoods, landmarks of
faces) is left out: everything in this wire is optional.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from router.core.task import Annotated, AnnotateRequest, Annotation

Box = tuple[int, int, int, int]
_ENTITIES = {
    "labels": "labelAnnotations",
    "landmarks": "landmarkAnnotations",
    "logos": "logoAnnotations",
}


def responses(images: Iterable[Annotated], request: AnnotateRequest) -> list[dict[str, Any]]:
    """One response per image, in their order."""
    most = dict(request.features)
    return [_response(image, most) for image in images]


def _response(image: Annotated, most: dict[str, int]) -> dict[str, Any]:
    if image.error:
        return {"error": {"code": 3, "message": image.error}}
    rows: dict[str, list[Annotation]] = {}
    for row in image.annotations:
        rows.setdefault(row.feature, []).append(row)
    said: dict[str, Any] = {}
    for feature, found in rows.items():
        kept = found[: most.get(feature) or None]
        if feature in _ENTITIES:
            said[_ENTITIES[feature]] = [_entity(row) for row in kept]
        elif feature == "faces":
            said["faceAnnotations"] = [_face(row) for row in kept]
        elif feature == "objects":
            said["localizedObjectAnnotations"] = [_located(row, image) for row in kept]
    # Where both were asked for, the vendor too answers with the text of documents.
    text = rows.get("document") or rows.get("text")
    return said | _text(text, image) if text else said


def _entity(row: Annotation) -> dict[str, Any]:
    return {"description": row.text} | _scored("score", row) | _placed(row.box)


def _face(row: Annotation) -> dict[str, Any]:
    return _placed(row.box) | _scored("detectionConfidence", row)


def _located(row: Annotation, image: Annotated) -> dict[str, Any]:
    said = {"name": row.text} | _scored("score", row)
    if row.box is not None and image.width and image.height:
        corners = [(x / image.width, y / image.height) for x, y in _corners(row.box)]
        said["boundingPoly"] = {"normalizedVertices": [{"x": x, "y": y} for x, y in corners]}
    return said


def _text(rows: list[Annotation], image: Annotated) -> dict[str, Any]:
    """First the whole text, then its pieces."""
    whole = "\n".join(row.text for row in rows)
    boxes = [row.box for row in rows if row.box is not None]
    all_of_it = {"description": whole} | _placed(_around(boxes))
    page = {"width": image.width, "height": image.height}
    full: dict[str, Any] = {"text": whole}
    if image.width and image.height:
        full["pages"] = [page]
    return {
        "textAnnotations": [all_of_it, *(_entity(row) for row in rows)],
        "fullTextAnnotation": full,
    }


def _scored(name: str, row: Annotation) -> dict[str, Any]:
    return {} if row.score is None else {name: row.score}


def _placed(box: Box | None) -> dict[str, Any]:
    if box is None:
        return {}
    return {"boundingPoly": {"vertices": [{"x": x, "y": y} for x, y in _corners(box)]}}


def _corners(box: Box) -> tuple[tuple[int, int], ...]:
    """Clockwise from the upper left, as the vendor gives them."""
    x, y, width, height = box
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


def _around(boxes: list[Box]) -> Box | None:
    if not boxes:
        return None
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
    return left, top, right - left, bottom - top
