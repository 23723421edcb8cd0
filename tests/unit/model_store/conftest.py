"""Fixtures: tiny models (once per test process) and folders that no other test sees."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_makers import make_serving, save_tiny

from model_store.pack import Places


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(kind, folder / kind) for kind in ("gpt2", "bert", "distilbert")}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "catalog").mkdir()
    return Places(
        catalog=tmp_path / "catalog",
        archives=tmp_path / "archives",
        serving=make_serving(tmp_path / "serving"),
        cache=tmp_path / "cache",
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ISOCOST_CACHE", str(tmp_path / "cache"))
    return
