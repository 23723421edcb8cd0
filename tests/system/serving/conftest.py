import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2] / "unit" / "serving"

if "serving_models" not in sys.modules:
    spec = importlib.util.spec_from_file_location("serving_models", ROOT / "serving_tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["serving_models"] = module
    spec.loader.exec_module(module)
