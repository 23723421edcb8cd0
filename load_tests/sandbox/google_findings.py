"""What Google Vision says of one image: each feature's part of an AnnotateImageResponse.

Numbers that are 0 are left out, as protobuf's JSON leaves them out. Boxes come from shares of the
image; a text's lines lie below each other, and the words of a line beside each other.
"""

from collections.abc import Callable
from typing import Any

from load_tests.sandbox.answers import Box, Face, Named
from load_tests.sandbox.seeing import Seen

Json = dict[str, Any]
LIKELIHOODS = ("joy", "sorrow", "anger", "surprise", "underExposed", "blurred", "headwear")
UNSAFE = ("adult", "spoof", "medical", "violence", "racy")
LIKELY = ("UNKNOWN", "VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")
PLACES = {"LEFT_EYE": 1, "RIGHT_EYE": 2, "NOSE_TIP": 8, "MOUTH_CENTER": 13}
BLOCKS = {"TEXT": 1, "SPACE": 1, "EOL_SURE_SPACE": 3}
NUMBERS = {name: number for number, name in enumerate(LIKELY)} | PLACES | BLOCKS
TEXT_BOX: Box = (0.1, 0.1, 0.9, 0.9)
SURE = 0.98


def found(seen: Seen, wanted: dict[str, int], ratios: list[float]) -> Json:
    """The response for these features, each with the most results of it."""
    response: Json = {}
    document = "DOCUMENT_TEXT_DETECTION" in wanted
    for name, most in wanted.items():
        if name == "TEXT_DETECTION" and document:
            continue  # the document's reading takes precedence
        response |= FINDERS[name](seen, most)
    if ratios and "cropHintsAnnotation" in response:
        hints = [_hint(seen, ratio) for ratio in ratios]
        response["cropHintsAnnotation"] = {"cropHints": hints}
    return {name: part for name, part in response.items() if part}


def _labels(seen: Seen, most: int) -> Json:
    rows = [
        {"description": one.name, "score": one.score, "topicality": one.score}
        for one in seen.shows.labels[:most]
    ]
    return {"labelAnnotations": rows}


def _placed(rows: tuple[Named, ...], seen: Seen, most: int) -> list[Json]:
    return [
        {"description": one.name, "score": one.score, "boundingPoly": _poly(one.box, seen)}
        for one in rows[:most]
    ]


def _landmarks(seen: Seen, most: int) -> Json:
    return {"landmarkAnnotations": _placed(seen.shows.landmarks, seen, most)}


def _logos(seen: Seen, most: int) -> Json:
    return {"logoAnnotations": _placed(seen.shows.logos, seen, most)}


def _objects(seen: Seen, most: int) -> Json:
    rows = [
        {
            "name": one.name,
            "score": one.score,
            "boundingPoly": {"normalizedVertices": _corners(one.box)},
        }
        for one in seen.shows.objects[:most]
    ]
    return {"localizedObjectAnnotations": rows}


def _faces(seen: Seen, most: int) -> Json:
    return {"faceAnnotations": [_face(one, seen) for one in seen.shows.faces[:most]]}


def _face(face: Face, seen: Seen) -> Json:
    left, top, right, bottom = face.box
    places = {
        "LEFT_EYE": (left + 0.3 * (right - left), top + 0.4 * (bottom - top)),
        "RIGHT_EYE": (left + 0.7 * (right - left), top + 0.4 * (bottom - top)),
        "NOSE_TIP": (left + 0.5 * (right - left), top + 0.6 * (bottom - top)),
        "MOUTH_CENTER": (left + 0.5 * (right - left), top + 0.8 * (bottom - top)),
    }
    landmarks = [
        {"type": name, "position": {"x": x * seen.size.width, "y": y * seen.size.height}}
        for name, (x, y) in places.items()
    ]
    likely = {f"{name}Likelihood": "VERY_UNLIKELY" for name in LIKELIHOODS}
    return {
        "boundingPoly": _poly(face.box, seen),
        "fdBoundingPoly": _poly(face.box, seen),
        "landmarks": landmarks,
        "detectionConfidence": face.score,
        "landmarkingConfidence": face.score,
        **likely,
        "joyLikelihood": face.joy,
    }


def _safe(seen: Seen, most: int) -> Json:
    unsafe = seen.shows.unsafe
    rating = {name: "LIKELY" if name in unsafe else "VERY_UNLIKELY" for name in UNSAFE}
    return {"safeSearchAnnotation": rating}


def _properties(seen: Seen, most: int) -> Json:
    red, green, blue = seen.size.colour
    colour = {"color": _set({"red": red, "green": green, "blue": blue})}
    colours = [{**colour, "score": 1.0, "pixelFraction": 1.0}]
    return {"imagePropertiesAnnotation": {"dominantColors": {"colors": colours}}}


def _crops(seen: Seen, most: int) -> Json:
    whole = seen.size.width / (seen.size.height or 1)
    return {"cropHintsAnnotation": {"cropHints": [_hint(seen, whole)]}}


def _hint(seen: Seen, ratio: float) -> Json:
    whole = seen.size.width / (seen.size.height or 1)
    wide, high = min(1.0, ratio / whole), min(1.0, whole / ratio) if ratio else 1.0
    box = ((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)
    return {"boundingPoly": _poly(box, seen), "confidence": 0.8, "importanceFraction": 1.0}


def _web(seen: Seen, most: int) -> Json:
    entities = [{"description": one.name, "score": one.score} for one in seen.shows.labels[:most]]
    best = [{"label": one.name.lower(), "languageCode": "en"} for one in seen.shows.labels[:1]]
    return {"webDetection": _set({"webEntities": entities, "bestGuessLabels": best})}


def _text(seen: Seen, most: int) -> Json:
    lines = [line.split() for line in seen.shows.text.splitlines() if line.split()]
    if not lines:
        return {}
    whole = "\n".join(" ".join(line) for line in lines)
    language = seen.shows.language
    first = {"locale": language, "description": whole, "boundingPoly": _poly(TEXT_BOX, seen)}
    placed = [
        list(zip(line, _boxes(line, at, len(lines)), strict=True)) for at, line in enumerate(lines)
    ]
    words = [
        {"description": word, "boundingPoly": _poly(box, seen)}
        for line in placed
        for word, box in line
    ]
    rows = [
        _word(word, box, seen, "EOL_SURE_SPACE" if number == len(line) else "SPACE")
        for line in placed
        for number, (word, box) in enumerate(line, 1)
    ]
    language_part = {"detectedLanguages": [{"languageCode": language, "confidence": SURE}]}
    box = _poly(TEXT_BOX, seen)
    paragraph = {"boundingBox": box, "words": rows, "confidence": SURE}
    block = {"boundingBox": box, "paragraphs": [paragraph], "blockType": "TEXT", "confidence": SURE}
    page = {
        "property": language_part,
        "width": seen.size.width,
        "height": seen.size.height,
        "blocks": [block],
        "confidence": SURE,
    }
    return {
        "textAnnotations": [first, *words],
        "fullTextAnnotation": {"pages": [page], "text": whole},
    }


def _word(word: str, box: Box, seen: Seen, ending: str) -> Json:
    left, top, right, bottom = box
    step = (right - left) / len(word)
    symbols: list[Json] = [
        {
            "text": sign,
            "confidence": SURE,
            "boundingBox": _poly((left + at * step, top, left + (at + 1) * step, bottom), seen),
        }
        for at, sign in enumerate(word)
    ]
    symbols[-1]["property"] = {"detectedBreak": {"type": ending}}
    return {"boundingBox": _poly(box, seen), "symbols": symbols, "confidence": SURE}


def _boxes(line: list[str], at: int, lines: int) -> list[Box]:
    left, top, right, bottom = TEXT_BOX
    high = (bottom - top) / lines
    step = (right - left) / (sum(map(len, line)) + len(line) - 1)
    boxes: list[Box] = []
    for word in line:
        end = left + len(word) * step
        boxes.append((left, top + at * high, end, top + (at + 0.9) * high))
        left = end + step
    return boxes


def _corners(box: Box) -> list[Json]:
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [_set({"x": x, "y": y}) for x, y in corners]


def _poly(box: Box, seen: Seen) -> Json:
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    size = seen.size
    return {
        "vertices": [
            _set({"x": round(x * size.width), "y": round(y * size.height)}) for x, y in corners
        ]
    }


def _set(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value}


def numbered(response: Any, key: str = "") -> Any:
    """The response with its enums as numbers."""
    if isinstance(response, dict):
        return {name: numbered(part, name) for name, part in response.items()}
    if isinstance(response, list):
        return [numbered(part) for part in response]
    enum = key in ("type", "blockType", *UNSAFE) or key.endswith("Likelihood")
    return NUMBERS[response] if enum else response


FINDERS: dict[str, Callable[[Seen, int], Json]] = {
    "FACE_DETECTION": _faces,
    "LANDMARK_DETECTION": _landmarks,
    "LOGO_DETECTION": _logos,
    "LABEL_DETECTION": _labels,
    "TEXT_DETECTION": _text,
    "DOCUMENT_TEXT_DETECTION": _text,
    "SAFE_SEARCH_DETECTION": _safe,
    "IMAGE_PROPERTIES": _properties,
    "CROP_HINTS": _crops,
    "WEB_DETECTION": _web,
    "OBJECT_LOCALIZATION": _objects,
}
