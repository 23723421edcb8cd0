"""Where a model's files come from: the four kinds of `source` of a catalog entry.

`files` pins each file to its sha256 and is also the list of files that are taken. The word
`unpinned` in its place says "nobody has checked these bytes"; the command line repeats it.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Unpinned = Literal["unpinned"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1)]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("must be a path inside the model's folder, with forward slashes")
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]
Files = Annotated[dict[InsidePath, Sha256], Field(min_length=1)]


class Strict(BaseModel):
    """Unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Folder(Strict):
    """A Hugging Face folder on this machine; a relative path counts from the catalog's folder.

    `made_by` is the command that makes the folder, for an entry whose weights are not shipped.
    """

    kind: Literal["folder"]
    path: Text
    made_by: Text | None = None
    files: Files | Unpinned = "unpinned"

    def __str__(self) -> str:
        return f"folder {self.path}"


class Hub(Strict):
    """A repository of the Hugging Face hub.

    `revision` is a commit: the hub keeps the files of a commit unchanged. `take` are the names or
    patterns of the files to fetch, for an entry whose `files` are unpinned.
    """

    kind: Literal["hub"]
    id: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{7,40}|unpinned)$")]
    take: list[Text] = ["*.json", "*.txt", "*.model", "*.spm", "*.jinja", "*.safetensors"]
    files: Files | Unpinned

    def __str__(self) -> str:
        return f"hub {self.id}@{self.revision[:12]}"


class Wheel(Strict):
    """One wheel of the Python package index; `path` is the model's folder inside it."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+!-]*$")]
    path: InsidePath

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


class Pypi(Strict):
    """One or more wheels; their folders are laid over each other. `megabytes` is the download's."""

    kind: Literal["pypi"]
    wheels: Annotated[list[Wheel], Field(min_length=1)]
    megabytes: Annotated[int, Field(gt=0)] | None = None
    files: Files | Unpinned

    def __str__(self) -> str:
        return "pypi " + " + ".join(map(str, self.wheels))


class TorchHub(Strict):
    """An entry point of a repository with a `hubconf.py`, whose code is run to make the model.

    `repo` is `owner/name:commit`, or a folder that starts with `/`, `./` or `../` (relative: from
    the catalog's folder). Both entry points get `arguments`; what they return must have
    `save_pretrained`.
    """

    kind: Literal["torch.hub"]
    repo: Text
    entry: Text
    tokenizer_entry: Text
    arguments: list[str] = []
    files: Files | Unpinned

    @property
    def local(self) -> bool:
        """Whether `repo` is a folder of this machine."""
        return self.repo.startswith(("/", "./", "../"))

    @model_validator(mode="after")
    def _repo_has_a_shape(self) -> "TorchHub":
        if not self.local and not re.fullmatch(r"[\w.-]+/[\w.-]+:[\w./-]+", self.repo):
            raise ValueError("repo must be owner/name:commit, or a folder that starts with / or ./")
        return self

    def __str__(self) -> str:
        return f"torch.hub {self.repo} {self.entry}"


Source = Annotated[Folder | Hub | Pypi | TorchHub, Field(discriminator="kind")]
