"""Writes environment.yml from requirements.txt: the same pins for conda users."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment() -> str:
    """environment.yml as it should be for the pins of requirements.txt."""
    pins = (ROOT / "requirements.txt").read_text().split()
    head = "name: isocost\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
    return head + "".join(f"      - {pin}\n" for pin in pins)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment())
