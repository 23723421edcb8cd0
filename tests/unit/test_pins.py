"""Requirement files: hashed, the same pins everywhere, torch's CPU build where it is said to be."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.lock import listed
from tests.pins import CUDA, ROOT, entries, hashes, pin, written

FILES = (
    "requirements.txt",
    *(
        f"requirements/{name}.txt"
        for name in ("router", "load", "serving", "torch-cpu", "torch-cuda")
    ),
)
WHOLE = entries((ROOT / "requirements.txt").read_text())


def held(file: str) -> dict[str, str]:
    return entries((ROOT / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_every_pin_has_hashes(file):
    """One version each, and the sums of its files: pip then takes nothing else."""
    for name, entry in held(file).items():
        assert re.fullmatch(rf"{name}==[^ ;]+( ; .+)?", pin(entry)), entry
        assert hashes(entry), name
        assert written(entry, hashes(entry)) == entry


@pytest.mark.parametrize("file", FILES[1:5])
def test_images_run_what_the_tests_ran(file):
    """The pins and hashes of an image are those of requirements.txt."""
    for name, entry in held(file).items():
        assert pin(entry).split(" ;")[0] == pin(WHOLE[name]).split(" ;")[0]
        assert hashes(entry) == hashes(WHOLE[name])


def test_cuda_is_only_where_it_was_asked_for():
    """Gigabytes that a CPU does not use."""
    cuda = held("requirements/torch-cuda.txt")
    assert "torch" in cuda
    assert all(name == "torch" or CUDA.fullmatch(name) for name in cuda)
    assert pin(cuda["torch"]) == pin(WHOLE["torch"])
    assert hashes(cuda["torch"]) != hashes(WHOLE["torch"])
    for file in FILES[:5]:
        assert not [name for name in held(file) if CUDA.fullmatch(name)]
    assert "torch" not in held("requirements/serving.txt")
    assert "torch" not in held("requirements/router.txt")


def test_the_load_test_is_laid_over_the_router():
    """Its own packages and no others: one version of each, wherever Python finds it."""
    router, load = held("requirements/router.txt"), held("requirements/load.txt")
    assert {"locust", "matplotlib"} <= set(load)
    assert not set(router) & set(load)
    assert "torch" not in load


def test_what_the_project_needs_is_pinned():
    """A new dependency needs a `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(word for words in project["optional-dependencies"].values() for word in words),
    ]
    names = {re.split(r"[\[<>=]", word)[0].lower().replace("_", "-") for word in wanted}
    assert names <= set(WHOLE)


def test_sums_of_pytorchs_index():
    """Files of the version for any platform, those of others left."""
    one, two, other = "1" * 64, "2" * 64, "3" * 64
    page = (
        f'<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl#sha256={one}">x</a>\n'
        f'<a href="/whl/cpu/torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl#sha256={two}">x</a>\n'
        f'<a href="/whl/cpu/torch-2.13.1%2Bcpu-cp311-cp311-win_amd64.whl#sha256={other}">x</a>\n'
    )
    assert listed(page, "2.13.0") == {one, two}
    with pytest.raises(SystemExit, match="of torch"):
        listed(page, "2.9.9")
