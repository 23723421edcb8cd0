"""What a backend can do beyond its tasks: voices, languages, features of images."""

from __future__ import annotations

from router.config import BackendConfig
from router.core.ability import Abilities


def abilities(spec: BackendConfig) -> Abilities:
    """As the file says; what it does not say is not limited."""
    languages = spec.languages
    return Abilities(
        spec.voices,
        None if languages.source is None else frozenset(t.lower() for t in languages.source),
        None if languages.target is None else frozenset(t.lower() for t in languages.target),
        None if spec.features is None else frozenset(spec.features),
    )
