"""Models that a repository's own code makes (`hubconf.py`): the entry's author decides to run that code."""

from pathlib import Path
from typing import Any

from model_store.errors import SourceError
from model_store.sources import TorchHub


def from_torch_hub(source: TorchHub, into: Path, catalog: Path) -> None:
    """Model and tokenizer of the repository's entry points, saved as a Hugging Face folder.

    Raises: SourceError where the repository is out of reach or its code fails.
    """
    for entry in (source.entry, source.tokenizer_entry):
        made = _call(source, entry, catalog)
        if not hasattr(made, "save_pretrained"):
            raise SourceError(
                f"{source.repo}: {entry}() returned a {type(made).__name__}, which has no save_pretrained; "
                "name an entry point that returns a Transformers model or tokenizer."
            )
        made.save_pretrained(into)


def _call(source: TorchHub, entry: str, catalog: Path) -> Any:
    import torch

    where = {"repo_or_dir": source.repo, "source": "github", "skip_validation": True}
    if source.local:
        where = {"repo_or_dir": str((catalog / source.repo).resolve()), "source": "local"}
    try:
        return torch.hub.load(model=entry, *source.arguments, trust_repo=True, verbose=False, **where)
    except Exception as error:
        # The repository's code may raise anything.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(
            f"Cannot load {entry} of the torch.hub repository {source.repo}: {reason[0]} "
            "Check the connection and the entry's source."
        ) from error
