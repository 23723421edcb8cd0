"""Models of the Hugging Face hub, by its own client (with its own cache and HF_* settings)."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

from model_store.errors import SourceError, reason
from model_store.sources import Hub


def from_hub(source: Hub, into: Path) -> None:
    """The named files of one commit. Raises: SourceError."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow, only where needed
    from huggingface_hub.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()  # it would tell of each of its five tries
    take = source.take if source.files == "unpinned" else sorted(source.files)
    revision = None if source.revision == "unpinned" else source.revision
    try:
        found = Path(snapshot_download(source.id, revision=revision, allow_patterns=take))
    except Exception as error:
        # The client raises its own, its HTTP library's and the operating system's errors.
        raise SourceError(
            f"Cannot get {source.id} from the model hub: {reason(error)} Check the connection "
            "(and HF_TOKEN, where the model asks for it), then run the command again."
        ) from error
    for file in sorted(f for f in found.rglob("*") if f.is_file()):
        name = file.relative_to(found).as_posix()
        # The client's cache is shared: others may have fetched more of the same commit.
        if not any(fnmatch(name, pattern) for pattern in take):
            continue
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    # The commit that an unpinned revision meant today; a name that no packed file has.
    (into / ".revision").write_text(found.name, encoding="utf-8")
