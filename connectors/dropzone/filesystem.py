"""A DropFolder in a mounted folder."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from connectors.dropzone.folder import DropFolder, Entry, FileError, NewFile, Reason, Stat
from connectors.errors import ConnectorError
from kernel.failpoints import failpoint

T = TypeVar("T")

_REASONS = {
    errno.ENOENT: Reason.MISSING,
    errno.ENOTDIR: Reason.MISSING,
    errno.EEXIST: Reason.EXISTS,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EROFS: Reason.DENIED,
    errno.ELOOP: Reason.DENIED,
    errno.ENOSPC: Reason.NO_SPACE,
    errno.EDQUOT: Reason.NO_SPACE,
}


class FilesystemFolder(DropFolder):
    """Folders below `roots`, opened once and then used by descriptor: no later link leads away."""

    def __init__(self, roots: Sequence[str], *, file_mode: int | None = None) -> None:
        self._roots = roots
        self._file_mode = file_mode
        self._descriptors: dict[str, int] = {}

    def __exit__(self, *exc_info: Any) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        results = [_value(self._create, file) for file in files]
        # A power loss must not take the names of files that are then believed to be there.
        for folder in {
            os.path.dirname(file.path)
            for file, failure in zip(files, results, strict=True)
            if failure is None
        }:
            try:
                with _translated(folder):
                    os.fsync(self._descriptor(folder))
            except FileError as e:
                results = [
                    e if os.path.dirname(file.path) == folder else result
                    for file, result in zip(files, results, strict=True)
                ]
        return results

    def _create(self, file: NewFile) -> None:
        with self._at(file.unless) as (folder, name):
            if _exists(name, folder):
                raise FileError(Reason.EXISTS, file.unless)
        with self._at(file.path) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, self._file_mode or 0o644, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    failpoint("created")
                    stream.write(file.content)
                    stream.flush()
                    failpoint("written")
                    if self._file_mode is not None:
                        os.fchmod(descriptor, self._file_mode)
                    os.fsync(descriptor)
                    failpoint("synced")
                    if os.fstat(descriptor).st_size != len(file.content):
                        raise FileError(Reason.CORRUPT, file.path)
            except (OSError, FileError):
                if file.path != file.unless:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                raise

    def rename(self, moves: Sequence[tuple[str, str]]) -> list[FileError | None]:
        results = [_value(self._rename, *move) for move in moves]
        # The names must outlive a power loss before anybody is told that the files were sent.
        for folder in {os.path.dirname(target) for _, target in moves}:
            with suppress(FileError), _translated(folder):
                os.fsync(self._descriptor(folder))
        return results

    def _rename(self, source: str, target: str) -> None:
        with self._at(source) as (old, old_name), self._at(target) as (new, new_name):
            # The name is unique to the export, so nothing of ours can appear in between. A link
            # with a later unlink would be exclusive, but a kill between them doubles the file.
            if _exists(new_name, new):
                raise FileError(Reason.EXISTS, target)
            failpoint("renaming")
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
            failpoint("renamed")

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        looks = [_value(self._lstat, path) for path in paths]
        return [
            None if isinstance(look, FileError) and look.reason is Reason.MISSING else look
            for look in looks
        ]

    def _lstat(self, path: str) -> Stat:
        with self._at(path) as (folder, name):
            return _stat(os.stat(name, dir_fd=folder, follow_symlinks=False))

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        return [_value(self._read, path, limit) for path in paths]

    def _read(self, path: str, limit: int) -> bytes:
        with self._at(path) as (folder, name):
            # O_NONBLOCK: opening a pipe that somebody planted must not wait for its writer.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise FileError(Reason.DENIED, path, "not a regular file")
                return stream.read(limit)

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        return [_value(self._remove, path) for path in paths]

    def _remove(self, path: str) -> None:
        with self._at(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def entries(self, folder: str) -> Iterator[Entry]:
        with _translated(folder), os.scandir(self._descriptor(folder)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # taken since the folder was read
                    yield Entry(entry.name, _stat(entry.stat(follow_symlinks=False)))

    def make(self, folder: str) -> FileError | None:
        return _value(self._make, folder)

    def _make(self, folder: str) -> None:
        with self._at(folder) as (parent, name):
            os.mkdir(name, dir_fd=parent)

    def identity(self, folder: str) -> str | None:
        held = self._descriptors.get(folder)
        if held is not None and os.fstat(held).st_nlink == 0:
            # Removed while it was open; its number may have been given to another one already.
            return None
        try:
            found = os.stat(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:  # a stale mount, an input/output error
            raise ConnectorError("CONNECTION_LOST", detail=repr(e)) from e
        return f"{found.st_dev}:{found.st_ino}"

    def free_bytes(self, folder: str) -> int | None:
        try:
            found = os.statvfs(folder)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    @contextmanager
    def _at(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder's descriptor and the file's name."""
        with _translated(path):
            folder, name = os.path.split(path)
            yield self._descriptor(folder), name

    def _descriptor(self, folder: str) -> int:
        if folder not in self._descriptors:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptors[folder] = os.open(allowed_path(folder, self._roots), flags)
        return self._descriptors[folder]


def allowed_path(folder: str, roots: Sequence[str]) -> str:
    """Return where a folder really lies. Raises ConnectorError (PATH_DENIED) if outside all roots.

    A prefix of the text would not do: /drop-evil starts with /drop, and links lead anywhere.
    """
    real = os.path.realpath(folder)
    for root in map(os.path.realpath, roots):
        if os.path.commonpath([root, real]) == root:
            return real
    raise ConnectorError(
        "PATH_DENIED", public=f"The folder {folder} does not lie below one of DROPZONE_ROOTS."
    )


def _stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, stat.S_ISREG(found.st_mode), int(found.st_mtime))


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise FileError(_REASONS.get(e.errno or 0, Reason.FAILURE), path, repr(e)) from e


def _value(operation: Callable[..., T], *args: Any) -> T | FileError:
    try:
        return operation(*args)
    except FileError as e:
        return e
