"""The features of Google Vision, and the hub's names of them.

Source: google/cloud/vision/v1/image_annotator.proto, Feature.Type; read 2026-11-23.
"""

from __future__ import annotations

NUMBERS = {
    "FACE_DETECTION": 1,
    "LANDMARK_DETECTION": 2,
    "LOGO_DETECTION": 3,
    "LABEL_DETECTION": 4,
    "TEXT_DETECTION": 5,
    "DOCUMENT_TEXT_DETECTION": 11,
    "SAFE_SEARCH_DETECTION": 6,
    "IMAGE_PROPERTIES": 7,
    "CROP_HINTS": 9,
    "WEB_DETECTION": 10,
    "PRODUCT_SEARCH": 12,
    "OBJECT_LOCALIZATION": 19,
}
"""The wire's names, and their numbers."""
_HUB = {
    "FACE_DETECTION": "faces",
    "LANDMARK_DETECTION": "landmarks",
    "LOGO_DETECTION": "logos",
    "LABEL_DETECTION": "labels",
    "TEXT_DETECTION": "text",
    "DOCUMENT_TEXT_DETECTION": "document",
    "SAFE_SEARCH_DETECTION": "safe_search",
    "IMAGE_PROPERTIES": "properties",
    "CROP_HINTS": "crops",
    "WEB_DETECTION": "web",
    "PRODUCT_SEARCH": "product_search",
    "OBJECT_LOCALIZATION": "objects",
}
HUB = {NUMBERS[name]: hub for name, hub in _HUB.items()}
"""Number -> the hub's name."""
TYPES = {hub: name for name, hub in _HUB.items()}
"""The hub's name -> the wire's."""
FOUND = frozenset({"labels", "text", "document", "faces", "objects", "landmarks", "logos"})
"""Features whose findings the hub can hold; the others' answers have forms of their own."""
UNCOUNTED = frozenset({"text", "document", "crops"})
"""Features that a number of results does not apply to."""
DEFAULT = 10
"""Results of one feature when the client does not say."""
