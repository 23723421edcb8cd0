"""What all sections are made of: no unknown keys, durations as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class ConfigError(ValueError):
    """The file cannot be used; the message lists every fault."""


def seconds(value: Any) -> Any:
    """Seconds from "20s", "500ms", "2m" or a number."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+\.?\d*)\s*(ms|s|m|h)\s*", value)
        if not found:
            raise ValueError("a duration is written like 500ms, 20s or 2m")
        return float(found[1]) * {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]
    return value


def listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
SomeSeconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Names = Annotated[list[str], BeforeValidator(listed)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
