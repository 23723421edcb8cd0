"""Packages that only some models need, asked for when such a model is loaded."""

from importlib import import_module
from typing import Any


def need(module: str, extra: str) -> Any:
    """The module. Raises: RuntimeError that names the extra which brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        message = f"{module} is not installed; this model needs it: pip install 'isocost[{extra}]'"
        raise RuntimeError(message) from error
