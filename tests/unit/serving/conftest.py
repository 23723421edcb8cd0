import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    from serving_tiny import causal

    return causal(tmp_path_factory.mktemp("gpt2") / "model", "gpt2")


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    from serving_tiny import causal, convert

    return convert(causal(tmp_path_factory.mktemp("llama") / "model", "llama"))


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    from serving_tiny import convert, encoder

    return convert(encoder(tmp_path_factory.mktemp("bert") / "model", "bert"))


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """Folders of models that were taught their sentences once, by the family's name."""
    from translate_tiny import WHOLE, convert

    made = {}

    def find(name):
        if name not in made:
            made[name] = convert(WHOLE[name][0](tmp_path_factory.mktemp(name) / "model"))
        return made[name]

    return find
