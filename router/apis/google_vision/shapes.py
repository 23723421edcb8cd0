"""An `AnnotateImageResponse` as it is read: only what the hub holds.

Source: google/cloud/vision/v1/{image_annotator,text_annotation,geometry}.proto; read 2026-11-23.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

_Pixel = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=10**6)]


class Vertex(msgspec.Struct):
    """A point; a coordinate that is 0 is left out."""

    x: _Pixel = 0.0
    y: _Pixel = 0.0


class Poly(msgspec.Struct, rename="camel"):
    vertices: list[Vertex] = []
    normalized_vertices: list[Vertex] = []


class Entity(msgspec.Struct, rename="camel"):
    description: str = ""
    score: float | None = None
    bounding_poly: Poly | None = None


class Face(msgspec.Struct, rename="camel"):
    detection_confidence: float | None = None
    bounding_poly: Poly | None = None


class Located(msgspec.Struct, rename="camel"):
    name: str = ""
    score: float | None = None
    bounding_poly: Poly | None = None


class Break(msgspec.Struct):
    type: str | int = 0


class Property(msgspec.Struct, rename="camel"):
    detected_break: Break | None = None


class Symbol(msgspec.Struct):
    text: str = ""
    property: Property | None = None


class Word(msgspec.Struct, rename="camel"):
    symbols: list[Symbol] = []
    bounding_box: Poly | None = None


class Paragraph(msgspec.Struct):
    words: list[Word] = []


class Block(msgspec.Struct):
    paragraphs: list[Paragraph] = []


class Page(msgspec.Struct):
    width: _Size = 0
    height: _Size = 0
    blocks: list[Block] = []


class FullText(msgspec.Struct):
    text: str = ""
    pages: list[Page] = []


class Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class Answered(msgspec.Struct, rename="camel"):
    """What was found in one image."""

    label_annotations: list[Entity] = []
    text_annotations: list[Entity] = []
    full_text_annotation: FullText | None = None
    face_annotations: list[Face] = []
    localized_object_annotations: list[Located] = []
    landmark_annotations: list[Entity] = []
    logo_annotations: list[Entity] = []
    error: Fault | None = None


class Body(msgspec.Struct):
    responses: list[msgspec.Raw] = []
