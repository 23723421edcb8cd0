"""What the pages say is what the code does: fields, metrics, commands, words, links."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import yaml

import router.gates
import router.layers
from router import apis
from router.cli import VERBS
from router.config import Config, parse
from router.config.fields import seconds
from router.core.task import TASKS
from router.core.verdict import ALL
from router.doors.paths import entrances
from router.rules import VARIABLES

PATHS = {path.pattern: (door.wire, path.task) for door, path in entrances()}
ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("[!.]*/README.md")])
SCHEMA: dict[str, Any] = Config.model_json_schema()

# Where docs/configuration.md describes each part of the schema.
HEADINGS = {
    "ServerConfig": "`server`",
    "AdminConfig": "`server.admin`",
    "AdmissionConfig": "`server.admission`",
    "KeyConfig": "`keys[]`",
    "RatesConfig": "`keys[].rates`",
    "BackendConfig": "`backends.<name>`",
    "PriceConfig": "`backends.<name>.price`",
    "LimitsConfig": "`backends.<name>.limits`",
    "BreakerConfig": "`backends.<name>.breaker`",
    "LanguagesConfig": "`backends.<name>.languages`",
    "SandboxConfig": "`backends.<name>.sandbox`",
    "RouteConfig": "`routes.<name>`",
    "PromiseConfig": "`routes.<name>.promise`",
    "QuantileConfig": "Quantiles",
    "RuleConfig": "`routes.<name>.rules[]`",
    "CacheConfig": "`cache`",
    "RouteCacheConfig": "`routes.<name>.cache`",
    "FailureConfig": "`routes.<name>.failure`",
    "HedgeConfig": "`routes.<name>.failure.hedge`",
    "LedgerConfig": "`ledger`",
    "JournalConfig": "`journal`",
    "TracingConfig": "`tracing`",
    "BudgetConfig": "`budgets[]`",
}


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    _, found, rest = text.partition(f"# {heading}\n")
    assert found, f"no heading {heading}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Rows of the tables in *text*: the name in the first cell, and the other cells."""
    out = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                out[name] = cells[1:]
    return out


def test_every_part_of_the_schema_has_its_heading() -> None:
    """A new part of the configuration asks for a section of its own."""
    assert set(HEADINGS) == set(SCHEMA["$defs"])


@pytest.mark.parametrize("part", HEADINGS)
def test_configuration_page_names_every_field_and_its_default(part: str) -> None:
    """A field that is new, gone or has another default must change the page."""
    fields: dict[str, Any] = SCHEMA["$defs"][part]["properties"]
    told = rows(section(page("configuration.md"), HEADINGS[part]))
    assert set(told) == set(fields)
    required = SCHEMA["$defs"][part].get("required", ())
    for name, field in fields.items():
        said = told[name][0].strip("`")
        default = field.get("default", [])
        if name in required:
            assert said == "required", name
        elif default is None:
            assert said == "-", name
        elif isinstance(default, dict):
            assert said == "see below", name
        else:
            assert _value(said) in (default, str(default)), name


def _value(said: str) -> Any:
    found = yaml.safe_load(said)
    return seconds(found) if re.fullmatch(r"\d+(ms|s|m|h)", said) else found


def test_routing_page_explains_every_word() -> None:
    """A rule's variables, the endings of an attempt and what a backend is left by."""
    told = rows(page("routing.md"))
    assert set(VARIABLES) <= set(told)
    assert {verdict.name for verdict in ALL} <= set(told)
    text = (ROOT / "router" / "plan.py").read_text()
    words = set(re.findall(r'(?:blocked, retry_after|kind, why|return) = ?"(\w[\w ]*)"', text))
    words |= set(re.findall(r'(?:return|kind, why =) "(\w+)", ', text)) | {"context"}
    assert words == set(rows(section(page("routing.md"), "Leaving")))


def test_verdict_table_of_the_page_is_that_of_the_code() -> None:
    """Breaker and charge, verdict by verdict."""
    told = rows(section(page("routing.md"), "Verdicts"))
    for verdict in ALL:
        _, breaker, onward, charged = told[verdict.name]
        assert breaker == ("-" if verdict.breaker == "ignore" else verdict.breaker), verdict.name
        assert charged.startswith(verdict.charge), verdict.name
        assert verdict.try_next == onward.startswith(("yes", "before")), verdict.name


def test_queries_of_the_metrics_page_use_known_metrics() -> None:
    """A query over a metric that does not exist shows nothing, for ever."""
    text = page("metrics.md")
    queries = text.partition("```promql")[2]
    for name in re.findall(r"isocost_\w+", queries):
        assert f"| `{name.removesuffix('_bucket')}` |" in text, name


def test_api_page_names_every_path_and_header() -> None:
    """Doors and headers, in and out."""
    text = page("api.md")
    for path in PATHS:
        assert f"`POST {path}`" in text
    doors = (ROOT / "router" / "doors" / "inference.py").read_text()
    for header in set(re.findall(r'b"(x-[a-z-]+)"', doors)):
        assert f"`{header}`" in text, header
    for path in re.findall(r'@api\.\w+\("([^"]+)"', _admin_text()):
        assert path in text, path


def _admin_text() -> str:
    doors = ROOT / "router" / "doors"
    return "".join((doors / name).read_text() for name in ("admin.py", "health.py"))


def test_api_page_names_every_code_of_an_error() -> None:
    """A client may branch on the code."""
    text = page("api.md")
    module = import_module("router.core.errors")
    shown = ("Unauthorized", "Forbidden", "UnknownRoute", "TooLarge", "TooExpensive")
    for name in (*shown, "BadRequest", "NoBackend", "DeadlineExceeded", "BrokenStream"):
        assert f"`{getattr(module, name).code}`" in text, name


def test_glossary_has_the_words_of_the_code() -> None:
    """Gates, layers, verdicts and tasks are called what the glossary calls them."""
    text = page("glossary.md")
    gates = {m.name.replace("_", " ") for m in iter_modules(router.gates.__path__)}
    layers = {m.name for m in iter_modules(router.layers.__path__)}
    for word in sorted(gates | layers | {v.name for v in ALL} | set(TASKS)):
        assert f"`{word}`" in text or re.search(rf"^\| {word}\b", text, re.MULTILINE), word


def test_readme_lists_the_doors_and_apis_of_today() -> None:
    """The table of tasks is the code's: each wire's way to each of its tasks (docs/api.md has all)."""
    for wire, task in set(PATHS.values()):
        mine = [path for path in PATHS if PATHS[path] == (wire, task)]
        assert any(f"`POST {path}`" in README for path in mine), (wire, task)
    for name in apis.NAMES:
        if hasattr(import_module(f"router.apis.{name}"), "API"):
            assert f"`api: {name}`" in README, name


def test_configuration_of_the_readme_is_accepted() -> None:
    """Who copies it gets no fault."""
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found
    parse(found[1])


def test_configuration_of_a_service_of_your_own_is_accepted() -> None:
    """Who copies it gets no fault."""
    found = re.search(r"```yaml\n(.*?)```", page("own-service.md"), re.DOTALL)
    assert found
    parse(found[1])


def test_backends_of_the_api_page_are_accepted() -> None:
    """Each example of another server is a backend as it stands."""
    found = re.search(r"## Other servers.*?```yaml\n(.*?)```", page("api.md"), re.DOTALL)
    assert found
    names = list(yaml.safe_load(found[1])["backends"])
    route = {"task": "chat", "backends": names}
    parse(found[1] + yaml.safe_dump({"routes": {"any": route}}))


def _verbs(text: str) -> Iterator[tuple[str, str]]:
    yield from re.findall(
        r"(?:^|`)(make|\.venv/bin/isocost|isocost) ([a-z]+)\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_in_the_pages_exist(file: Path) -> None:
    """`make x` is a verb of the Makefile, `isocost x` one of the command line."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, verb in _verbs(file.read_text()):
        assert verb in (targets if program == "make" else VERBS), f"{program} {verb}"


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    """Green there means that `make test` is green here."""
    assert "\nmake test " in README
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == "make test"


def test_readme_asks_for_the_python_of_the_project() -> None:
    """One number, in two places."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README


def test_environment_equals_the_requirements() -> None:
    """conda users get the pins that the tests ran with."""
    pins = runpy.run_path(str(ROOT / "tests" / "pins.py"))
    assert (ROOT / "environment.yml").read_text() == pins["environment"]()


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    """A relative link names a file, and its anchor a heading of it."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text()), link


def _anchors(text: str) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["docs", "docs/decisions"])
def test_index_lists_every_page(name: str) -> None:
    """A page that nobody can find is not there."""
    index = page("README.md")
    for file in (ROOT / name).glob("*.md"):
        if file.name != "README.md":
            assert f"({file.relative_to(DOCS)})" in index, file.name
