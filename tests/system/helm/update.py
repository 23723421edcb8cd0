"""`python -m tests.system.helm.update` (`make chart`): writes the chart's README and the snapshots."""

from __future__ import annotations

from tests.system.helm import golden, readme
from tests.system.helm.charts import CHART

if __name__ == "__main__":
    (CHART / "README.md").write_text(readme.text())
    golden.GOLDEN.mkdir(exist_ok=True)
    for path, text in golden.files().items():
        path.write_text(text)
