"""Models that are already on this machine."""

from pathlib import Path

from model_store.errors import SourceError
from model_store.sources import Folder


def find_folder(source: Folder, catalog: Path) -> Path:
    """The folder itself; nothing is copied. Raises: SourceError."""
    folder = (catalog / Path(source.path).expanduser()).resolve()
    if not folder.is_dir():
        if source.made_by:
            raise SourceError(f"There is no folder {folder} yet; make it: {source.made_by}")
        raise SourceError(
            f"There is no folder {folder}; put the model there or correct source.path."
        )
    return folder
