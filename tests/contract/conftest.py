"""Makes `tests.fakes` importable however pytest was started; no deadline on a busy machine."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = next(p for p in Path(__file__).parents if (p / "pyproject.toml").exists())
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

settings.register_profile(
    "router",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("router")
