"""The catalog's folder, read into entries; mistakes are named by file and path inside it."""

import difflib
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from model_store.entry import Engine, Entry
from model_store.errors import CatalogError

CATALOG = Path(__file__).parent / "catalog"


class _OnceLoader(yaml.SafeLoader):
    """A key that stands twice is a mistake, while YAML readers keep the last one in silence."""


def _mapping_once(loader: _OnceLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.value != "<<":
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands there twice", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_OnceLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_once)


def parse_yaml(file: Path) -> Any:
    """The file's content. Raises: CatalogError with line and column."""
    try:
        # A subclass of the safe loader: it makes plain values only.
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_OnceLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"Cannot read {file}: {error}.") from error
    except yaml.YAMLError as error:
        raise CatalogError(f"{file} is not well-formed YAML: {error}") from error


def load_entry(file: Path) -> Entry:
    """The entry of one file. Raises: CatalogError with one line for each mistake."""
    raw = parse_yaml(file)
    if not isinstance(raw, dict):
        raise CatalogError(f"{file} must hold keys and values (name, tasks, source, ...).")
    try:
        entry = Entry.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise CatalogError("\n".join(f"{file}: {line}" for line in lines)) from error
    if entry.name != file.stem:
        raise CatalogError(f"{file}: name: must be {file.stem!r}, as the file is called.")
    return entry


def load_catalog(folder: Path = CATALOG) -> dict[str, Entry]:
    """All entries by name, sorted. Raises: CatalogError."""
    if not folder.is_dir():
        raise CatalogError(f"There is no catalog folder {folder}; name one with --catalog.")
    entries = {file.stem: load_entry(file) for file in sorted(folder.glob("*.yaml"))}
    for entry in entries.values():
        for engine in entry.engines:
            twin = entry.archive_name(engine)
            if twin != entry.name and twin in entries:
                raise CatalogError(
                    f"{folder / twin}.yaml takes the name of {entry.name}'s {engine} archive."
                )
    return entries


def choose(entries: dict[str, Entry], name: str, engine: Engine | None) -> tuple[Entry, Engine]:
    """The entry and engine that a name means: `minilm`, or `minilm-torch` for its twin.

    Raises: CatalogError with the nearest known name.
    """
    known = {entry.archive_name(e): (entry, e) for entry in entries.values() for e in entry.engines}
    if name not in known:
        hint = _nearest(name, known) or f"it has {', '.join(known) or 'no entries'}."
        raise CatalogError(f"There is no model {name!r} in the catalog; {hint}")
    entry, meant = known[name]
    if engine is None or engine == meant:
        return entry, meant
    if engine not in entry.engines:
        can = " and ".join(entry.engines)
        raise CatalogError(
            f"{entry.name} cannot be packed for {engine}; its entry describes {can}."
        )
    return entry, engine


def _explain(problem: dict[str, Any]) -> str:
    """`source.wheels.0.verison: unknown key; did you mean 'version'?`."""
    where, known = _walk(problem["loc"])
    if problem["type"] == "extra_forbidden":
        hint = _nearest(str(problem["loc"][-1]), known) or f"known are {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _walk(loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The path as written in the file, and the keys known beside its last step.

    Pydantic's path also holds the `kind` of a source and names of alternatives; they are left out.
    """
    models: list[type[BaseModel]] = [Entry]
    path: list[str] = []
    for step in loc:
        tagged = [m for m in models if _tag(m) == step]
        if tagged:
            models = tagged
            continue
        if isinstance(step, str) and ("[" in step or step in {"unpinned", "literal"}):
            continue
        path.append(str(step))
        if step != loc[-1] or isinstance(step, int):
            models = [n for m in models for n in _below(m, step)] or models
    known = {f.alias or name for m in models for name, f in m.model_fields.items()}
    return ".".join(path), sorted(known)


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return typing.get_args(field.annotation)[0] if field else None


def _below(model: type[BaseModel], step: int | str) -> list[type[BaseModel]]:
    field = model.model_fields.get(str(step))
    return _models(field.annotation) if field else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in typing.get_args(annotation) for m in _models(part)]
