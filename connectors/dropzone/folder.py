"""The DropFolder interface: the few file operations that a dropzone needs, all in batches."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import NamedTuple, Protocol


class Reason(Enum):
    """Why an operation on one file failed, as far as the server tells."""

    MISSING = auto()
    EXISTS = auto()
    DENIED = auto()
    NO_SPACE = auto()
    CORRUPT = auto()  # what lies there is not what was written
    UNSIZED = auto()  # the server does not tell how large it is
    UNSUPPORTED = auto()
    FAILURE = auto()  # everything for which a server gives no reason


class FileError(Exception):
    """One file's failure. `detail` is for the log."""

    def __init__(self, reason: Reason, path: str, detail: str = "") -> None:
        super().__init__(f"{reason.name} {path} {detail}".rstrip())
        self.reason = reason
        self.path = path
        self.detail = detail


class NewFile(NamedTuple):
    """A file to create at `path`, unless there is already something at `unless`."""

    path: str
    content: bytes
    unless: str


class Stat(NamedTuple):
    """`modified_at`: seconds since the epoch by the clock of the dropzone, if it tells."""

    size: int | None
    is_file: bool
    modified_at: int | None = None


class Entry(NamedTuple):
    """A name in a folder, bytes that are not UTF-8 as surrogate escapes."""

    name: str
    stat: Stat


class DropFolder(AbstractContextManager["DropFolder"], Protocol):
    """The folders of one dropzone. Paths are absolute; links are never followed at their end.

    Every batch operation returns one result for each file, in order. It raises ConnectorError only
    if the dropzone as a whole is lost; what was done to each file is then unknown.
    """

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        """Create files exclusively, write, sync and compare their sizes.

        What is left of a file that failed is removed if possible, unless `path` is `unless`: that
        file is visible from the start and may not be ours.
        """

    def rename(self, moves: Sequence[tuple[str, str]]) -> list[FileError | None]:
        """Rename files to names that nothing else uses, so that they become visible at once.

        MISSING: the source is gone, or its folder is.
        """

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        """Look at what lies at each path; None if there is nothing."""

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        """Return up to `limit` bytes of each regular file."""

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        """Remove files. MISSING: there was none."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """What is in a folder, unordered, as it comes. Raises FileError."""

    def make(self, folder: str) -> FileError | None:
        """Make a folder; its parent must be there. EXISTS or FAILURE: perhaps it exists."""

    def identity(self, folder: str) -> str | None:
        """What sets this folder apart from another one that may appear in its place.

        None if the folder is missing. An empty text if the server gives nothing to tell by.
        """

    def free_bytes(self, folder: str) -> int | None:
        """Free space, None if the server does not tell."""
