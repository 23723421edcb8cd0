"""`isocost schema`: the JSON schema of isocost.yaml."""

from __future__ import annotations

import json

from router.cli import parser
from router.config import Config


def main(words: list[str]) -> int:
    parser("schema").parse_args(words)
    print(json.dumps(Config.model_json_schema(), indent=2))
    return 0
