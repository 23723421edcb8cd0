"""What an archive holds beside the model: `serving/ARCHIVE.yaml`, and the files that it names."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from model_store.checksums import digest
from model_store.entry import Engine, Entry, Task
from model_store.errors import ArchiveError, CatalogError
from model_store.load import parse_yaml
from model_store.sources import InsidePath, Strict, Text

SERVING = Path(__file__).parent.parent / "serving"


class Kind(Strict):
    """One kind of handler; `files` is path in the archive -> path in the serving folder."""

    tasks: Annotated[list[Task], Field(min_length=1)]
    handler: Text
    files: dict[InsidePath, InsidePath]
    config: dict[str, Any]

    def worker_files(self, serving: Path) -> dict[str, Path]:
        """Path in the archive -> file. Raises: ArchiveError for one that is not there."""
        found = {inside: serving / path for inside, path in self.files.items()}
        missing = [str(file) for file in found.values() if not file.is_file()]
        if missing:
            raise ArchiveError(
                f"{serving / 'ARCHIVE.yaml'} names {missing[0]}, which is not there."
            )
        return found


def kind_for(entry: Entry, serving: Path) -> Kind:
    """The handler kind with the fewest tasks that serves all of the entry's.

    Raises: CatalogError where there is none, ArchiveError for a recipe that is not well formed.
    """
    kinds = _kinds(serving / "ARCHIVE.yaml")
    able = [kind for kind in kinds.values() if set(entry.tasks) <= set(kind.tasks)]
    if not able:
        can = "; ".join(f"{name}: {', '.join(kind.tasks)}" for name, kind in kinds.items())
        raise CatalogError(
            f"No handler serves {', '.join(entry.tasks)} together for {entry.name} ({can})."
        )
    return min(able, key=lambda kind: len(kind.tasks))


def _kinds(file: Path) -> dict[str, Kind]:
    raw = parse_yaml(file)
    kinds = raw.get("kinds") if isinstance(raw, dict) else None
    if not isinstance(kinds, dict) or not kinds:
        raise ArchiveError(f"{file} has no kinds of handlers.")
    try:
        return {str(name): Kind.model_validate(kind) for name, kind in kinds.items()}
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ArchiveError(f"{file}: {where}: {problem['msg']}") from error


def model_config(entry: Entry, engine: Engine, kind: Kind) -> dict[str, Any]:
    """`model-config.yaml`: the kind's defaults, over them what the entry says, key by key."""
    settings = entry.engines[engine]
    outer = {k: v for k, v in kind.config.items() if k != "handler"}
    outer |= entry.serving.model_dump(by_alias=True, exclude_none=True)
    handler = dict(kind.config.get("handler") or {})
    handler |= entry.handler.model_dump(exclude_none=True)
    if entry.translation is not None:
        handler["translation"] = entry.translation.model_dump(exclude_none=True)
    handler |= {
        "name": entry.archive_name(engine),
        "version": entry.version,
        "task": list(entry.tasks),
        "engine": engine,
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "context": entry.context,
    }
    return outer | {"handler": handler}


def worker_digests(kind: Kind, serving: Path) -> dict[str, str]:
    """sha256 of each file of the worker, by its path in the archive."""
    return {inside: digest(file) for inside, file in sorted(kind.worker_files(serving).items())}
