"""A DropFolder in memory, for tests: the same contract holds for it."""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from connectors.dropzone.folder import DropFolder, Entry, FileError, NewFile, Reason, Stat


class MemoryFolder(DropFolder):
    """`files` maps absolute paths to bytes, `folders` each folder to its identity."""

    def __init__(self, *folders: str) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {folder: f"memory:{number}" for number, folder in enumerate(folders)}

    def __exit__(self, *exc_info: Any) -> None:
        """Keep everything: a session ends, the dropzone stays."""

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        return [self._create(file) for file in files]

    def _create(self, file: NewFile) -> FileError | None:
        if posixpath.dirname(file.path) not in self.folders:
            return FileError(Reason.MISSING, file.path)
        if file.path in self.files or file.unless in self.files:
            return FileError(Reason.EXISTS, file.path)
        self.files[file.path] = file.content
        return None

    def rename(self, moves: Sequence[tuple[str, str]]) -> list[FileError | None]:
        return [self._rename(source, target) for source, target in moves]

    def _rename(self, source: str, target: str) -> FileError | None:
        if source not in self.files or posixpath.dirname(target) not in self.folders:
            return FileError(Reason.MISSING, source)
        if target in self.files:
            return FileError(Reason.EXISTS, target)
        self.files[target] = self.files.pop(source)
        return None

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        return [
            Stat(len(self.files[path]), is_file=True) if path in self.files else None
            for path in paths
        ]

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        return [
            self.files[path][:limit] if path in self.files else FileError(Reason.MISSING, path)
            for path in paths
        ]

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        return [
            None if self.files.pop(path, None) is not None else FileError(Reason.MISSING, path)
            for path in paths
        ]

    def entries(self, folder: str) -> Iterator[Entry]:
        if folder not in self.folders:
            raise FileError(Reason.MISSING, folder)
        return iter(
            [
                Entry(posixpath.basename(path), Stat(len(content), is_file=True))
                for path, content in self.files.items()
                if posixpath.dirname(path) == folder
            ]
        )

    def make(self, folder: str) -> FileError | None:
        if folder in self.folders:
            return FileError(Reason.EXISTS, folder)
        self.folders[folder] = f"memory:{len(self.folders)}"
        return None

    def identity(self, folder: str) -> str | None:
        return self.folders.get(folder)

    def free_bytes(self, folder: str) -> int | None:
        return None
