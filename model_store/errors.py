"""Everything that can go wrong in this room, as one tree.

StoreError            a sentence for people: what failed, where, what to do
  CatalogError        an entry of the catalog is not well formed, or is not there
  SourceError         a model's source is out of reach, or does not hold what the entry says
    ChecksumError     it answered, with other bytes than the entry is pinned to
  ConversionError     the files came, but they cannot be turned into what the engine reads
  TableError          a file to train on is not as it must be, line by line
  ArchiveError        an archive is missing, damaged or cannot be written
"""


class StoreError(Exception):
    """The message is meant for the person at the command line."""


class CatalogError(StoreError):
    """Change the file that the message names."""


class SourceError(StoreError):
    """Check the connection or the entry's `source`, then run the command again."""


class ChecksumError(SourceError):
    """The source changed, or somebody changed it: do not use these files before knowing why."""


class ConversionError(StoreError):
    """Choose another engine for this model."""


class TableError(StoreError):
    """Correct the lines that the message names."""


class ArchiveError(StoreError):
    """Pack the model again."""


def reason(error: BaseException) -> str:
    """The first line of what a library says, as a sentence of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first if first.endswith((".", "!", "?")) else f"{first}."
