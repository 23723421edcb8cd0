"""The command line: what it says, and its exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from store_makers import raw_entry, write_entry

from model_store.cli import main


@pytest.fixture
def store(tmp_path: Path, models: dict[str, Path]) -> list[str]:
    """A catalog whose default is a tiny GPT-2, with serving/'s real recipe; and its options."""
    source = {"kind": "folder", "path": str(models["gpt2"])}
    write_entry(tmp_path / "catalog", raw_entry(source=source, default=True))
    bert = raw_entry("encoder", tasks=["embed"], source=source | {"path": str(models["bert"])})
    write_entry(tmp_path / "catalog", bert)
    return ["--catalog", str(tmp_path / "catalog"), "--archives", str(tmp_path / "archives")]


def test_pack_verify_list_remove(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way of a default model through all four commands."""
    assert main(["pack", *store]) == 0
    assert re.match(
        r"tiny: packed in \d+\.\d s, \d+ MB, .*tiny\.mar\n", said := capsys.readouterr().out
    )
    assert "tiny: its source is not pinned by checksums" in said
    assert main(["pack", *store]) == 0
    assert capsys.readouterr().out.startswith("tiny: unchanged, ")
    assert main(["verify", *store]) == 0
    assert re.fullmatch(r"tiny: all \d+ files are as they were packed\n", capsys.readouterr().out)
    assert main(["list", *store, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "encoder": "no",
        "encoder-ctranslate2": "no",
        "tiny": "packed",
        "tiny-ctranslate2": "no",
    }
    assert len(rows["tiny"]["sha256"]) == 64
    assert main(["remove", "tiny", *store]) == 0
    assert list((tmp_path / "archives").iterdir()) == []
    assert main(["remove", "tiny", *store]) == 1


def test_twins_by_option_and_by_name(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--engine` and the twin's own name mean the same archive."""
    assert main(["pack", "encoder", "--engine", "ctranslate2", *store]) == 0
    assert main(["pack", "encoder-ctranslate2", *store]) == 0
    assert "encoder-ctranslate2: unchanged" in capsys.readouterr().out
    assert main(["verify", "encoder", "--engine", "ctranslate2", *store]) == 0
    assert [f.name for f in (tmp_path / "archives").glob("*.mar")] == ["encoder-ctranslate2.mar"]


def test_verify_says_which_file_differs(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, and a line for the file that somebody changed."""
    import zipfile

    main(["pack", *store])
    with zipfile.ZipFile(tmp_path / "archives/tiny.mar", "a") as archive:
        archive.writestr("model/extra.txt", "x")
    capsys.readouterr()
    assert main(["verify", *store]) == 1
    assert capsys.readouterr().err == "tiny: model/extra.txt was not packed with it\n"


def test_the_table_has_a_line_for_each_model(
    store: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is, its size and speed, whether it is packed and loaded; nothing is made up."""
    monkeypatch.setenv("COLUMNS", "200")
    main(["pack", *store])
    capsys.readouterr()
    nobody = ["--status-port", "9"]  # no supervisor listens there, whatever runs on this machine
    assert main(["list", *store, *nobody]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("name", "tasks", "engine", "licence", "languages", "size", "memory", "speed", "packed"),
        *("loaded", "device", "sha256"),
    ]
    assert [line.split()[0] for line in lines[1:]] == [
        "encoder",
        "encoder-ctranslate2",
        "tiny",
        "tiny-ctranslate2",
    ]
    assert re.search(
        r"tiny +complete +torch +Apache-2.0 +en +\d+ MB +\? +\? +yes +\? +[0-9a-f]{12}", lines[3]
    )
    assert main(["list", "tiny", *store, *nobody]) == 0
    assert "encoder" not in capsys.readouterr().out


def test_the_list_knows_what_is_loaded(
    store: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the supervisor's status page; one that answers nonsense, or none, is `not known`."""
    from serving.supervisor.status import StatusServer

    def listed(said: dict[str, object]) -> dict[str, tuple[str | None, str | None]]:
        server = StatusServer(("127.0.0.1", 0), lambda: said, lambda: True)
        server.start()
        try:
            assert main(["list", *store, "--json", "--status-port", str(server.port)]) == 0
        finally:
            server.close()
        rows = json.loads(capsys.readouterr().out)
        return {row["name"]: (row["loaded"], row["device"]) for row in rows}

    models = {"tiny": {"ready": True}, "encoder": {"ready": False}}
    found = listed({"up": True, "device": "cpu", "models": models})
    assert found == {
        "tiny": ("ready", "cpu"),
        "encoder": ("starting", "cpu"),
        "tiny-ctranslate2": ("no", None),
        "encoder-ctranslate2": ("no", None),
    }
    assert set(listed({"up": False, "device": "cpu", "models": models}).values()) == {(None, None)}
    assert set(listed({"hello": "world"}).values()) == {(None, None)}


def test_one_failure_does_not_keep_the_others_back(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The good model is packed, the bad one named, the status 1."""
    gone = raw_entry("gone", source={"kind": "folder", "path": "/nowhere"})
    write_entry(tmp_path / "catalog", gone)
    assert main(["pack", "gone", "tiny", *store]) == 1
    out, err = capsys.readouterr()
    assert err == "gone: There is no folder /nowhere; put the model there or correct source.path.\n"
    assert out.startswith("tiny: packed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "tinny"], "There is no model 'tinny' in the catalog; did you mean 'tiny'?\n"),
        (["verify", "tiny"], "tiny: There is no archive"),
        (["pack", "--catalog", "/nowhere"], "There is no catalog folder /nowhere"),
    ],
)
def test_problems_are_one_sentence_and_status_1(
    store: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, without a traceback."""
    assert main([arguments[0], *store, *arguments[1:]]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["remove"], ["fetch"], [], ["pack", "tiny", "--engine", "onnx"], ["list", "--quick"]],
)
def test_wrong_commands_are_status_2(
    store: list[str], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage, under the name that people type."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *store])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: isocost models ")


def test_nothing_is_default_and_nothing_is_packed(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty `verify` is fine, a `pack` that would do nothing is a problem."""
    assert main(["verify", *store]) == 0
    assert "There are no archives" in capsys.readouterr().out
    file = tmp_path / "catalog/tiny.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"default": False}))
    assert main(["pack", *store]) == 1
    assert "name the models to pack" in capsys.readouterr().err


def test_heavy_libraries_stay_out_when_nothing_is_to_do(store: list[str]) -> None:
    """As a program: an unchanged pack and a list import neither torch nor transformers."""
    main(["pack", *store])
    program = (
        "import sys; from model_store.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'huggingface_hub', 'gguf'} & set(sys.modules);"
        "sys.exit(code or bool(heavy) * 9)"
    )
    for command in ("pack", "list", "verify"):
        run = subprocess.run([sys.executable, "-c", program, command, *store], check=False)
        assert run.returncode == 0
