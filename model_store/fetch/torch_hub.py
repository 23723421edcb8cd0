"""Models that a repository's own code makes (`hubconf.py`): the entry decides to run that code."""

from pathlib import Path
from typing import Any

from model_store.errors import SourceError, reason
from model_store.sources import TorchHub


def from_torch_hub(source: TorchHub, into: Path, catalog: Path) -> None:
    """Model and tokenizer of the repository's entry points, saved as a Hugging Face folder.

    Raises: SourceError where the repository is out of reach or its code fails.
    """
    for entry in (source.entry, source.tokenizer_entry):
        made = _call(source, entry, catalog)
        if not hasattr(made, "save_pretrained"):
            raise SourceError(
                f"{source.repo}: {entry}() returned a {type(made).__name__}, "
                "which has no save_pretrained; name an entry point that returns a Transformers "
                "model or tokenizer."
            )
        made.save_pretrained(into)


def _call(source: TorchHub, entry: str, catalog: Path) -> Any:
    import torch  # noqa: PLC0415 - seconds, only where needed

    repo = str((catalog / source.repo).resolve()) if source.local else source.repo
    # Without skip_validation it asks GitHub about branches first, though the entry names a commit.
    how = {"source": "local" if source.local else "github", "skip_validation": True}
    try:
        return torch.hub.load(repo, entry, *source.arguments, trust_repo=True, verbose=False, **how)
    except Exception as error:
        # The repository's code may raise anything.
        raise SourceError(
            f"Cannot load {entry} of the torch.hub repository {source.repo}: {reason(error)} "
            "Check the connection and the entry's source."
        ) from error
