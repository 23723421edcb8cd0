import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2] / "unit" / "serving"

for name, file in (
    ("serving_models", "serving_tiny.py"),
    ("translate_models", "translate_tiny.py"),
):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
