"""`AnnotateImageResponse`s into the hub. Text is read as lines, as the other wires give it."""

from __future__ import annotations

from router.core.task import Annotated, Annotation

from .shapes import Answered, Entity, FullText, Poly, Word

Box = tuple[int, int, int, int]
_SPACES = frozenset({1, 2, "SPACE", "SURE_SPACE"})
_ENDS = frozenset({3, 4, 5, "EOL_SURE_SPACE", "HYPHEN", "LINE_BREAK"})
"""Breaks after which a new line begins."""
_HYPHENS = frozenset({4, "HYPHEN"})


def annotated(answer: Answered, features: tuple[str, ...], size: tuple[int, int]) -> Annotated:
    """What the hub holds of it. *size* is the image's in pixels, as far as its bytes say."""
    full = answer.full_text_annotation
    page = full.pages[0] if full is not None and full.pages else None
    width, height = (page.width, page.height) if page and page.width and page.height else size
    found: list[Annotation] = []
    for feature in dict.fromkeys(features):
        if feature in {"text", "document"}:
            found += _lines(answer, feature)
        elif feature == "faces":
            for face in answer.face_annotations:
                box = _box(face.bounding_poly)
                found.append(_row(feature, "", face.detection_confidence, box))
        elif feature == "objects":
            for one in answer.localized_object_annotations:
                box = _scaled(one.bounding_poly, width, height)
                found.append(_row(feature, one.name, one.score, box))
        else:
            found += _entities(answer, feature)
    error = answer.error
    said = (error.message or f"code {error.code}") if error and error.code and not found else ""
    return Annotated(annotations=tuple(found), width=width, height=height, error=said)


def _entities(answer: Answered, feature: str) -> list[Annotation]:
    by_feature = {
        "labels": answer.label_annotations,
        "landmarks": answer.landmark_annotations,
        "logos": answer.logo_annotations,
    }
    return [_entity(feature, one) for one in by_feature.get(feature, ())]


def _entity(feature: str, one: Entity) -> Annotation:
    return _row(feature, one.description, one.score, _box(one.bounding_poly))


def _row(feature: str, text: str, score: float | None, box: Box | None) -> Annotation:
    return Annotation(feature=feature, text=text, score=score, box=box)


def _lines(answer: Answered, feature: str) -> list[Annotation]:
    full = answer.full_text_annotation
    if full is not None and (found := _read(full, feature)):
        return found
    if not answer.text_annotations:
        text = full.text if full is not None else ""
        return [_row(feature, line, None, None) for line in text.splitlines() if line]
    whole, pieces = answer.text_annotations[0].description, answer.text_annotations[1:]
    if pieces and "\n".join(p.description for p in pieces) == whole:
        return [_entity(feature, piece) for piece in pieces]
    return [_row(feature, line, None, None) for line in whole.splitlines() if line]


def _read(full: FullText, feature: str) -> list[Annotation]:
    """The lines of a text that is given symbol by symbol."""
    found: list[Annotation] = []
    for page in full.pages:
        for block in page.blocks:
            for paragraph in block.paragraphs:
                found += _paragraph(paragraph.words, feature)
    return found


def _paragraph(words: list[Word], feature: str) -> list[Annotation]:
    found: list[Annotation] = []
    text, boxes = "", list[Box]()
    for word in words:
        if box := _box(word.bounding_box):
            boxes.append(box)
        for symbol in word.symbols:
            text += symbol.text
            kind = symbol.property.detected_break if symbol.property else None
            if kind is None:
                continue
            if kind.type in _SPACES:
                text += " "
            elif kind.type in _ENDS:
                text += "-" if kind.type in _HYPHENS else ""
                found.append(_row(feature, text, None, _around(boxes)))
                text, boxes = "", []
    if text:
        found.append(_row(feature, text, None, _around(boxes)))
    return found


def _around(boxes: list[Box]) -> Box | None:
    if not boxes:
        return None
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
    return left, top, right - left, bottom - top


def _box(poly: Poly | None) -> Box | None:
    """The upright box around a polygon of pixels."""
    return _bounds([(v.x, v.y) for v in poly.vertices]) if poly else None


def _scaled(poly: Poly | None, width: int, height: int) -> Box | None:
    """The same of one in shares of the image; none where its size is not known."""
    if poly is None or not width or not height:
        return None
    return _bounds([(v.x * width, v.y * height) for v in poly.normalized_vertices])


def _bounds(points: list[tuple[float, float]]) -> Box | None:
    if not points:
        return None
    left, right = round(min(x for x, _ in points)), round(max(x for x, _ in points))
    top, bottom = round(min(y for _, y in points)), round(max(y for _, y in points))
    return left, top, right - left, bottom - top
