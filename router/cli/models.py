"""`isocost models`: hands over to the program of the model store."""

from __future__ import annotations

import os
import sys


def main(words: list[str]) -> int:
    os.execv(sys.executable, [sys.executable, "-m", "model_store", *words])
