"""Failures in the folder of a dropzone, told as errors of the port: which error, and whose."""

import posixpath
from collections.abc import Iterator, Sequence

from connectors.dropzone.folder import DropFolder, Entry, FileError, Reason
from connectors.errors import ConnectorError

_CODES = {
    Reason.EXISTS: "NAME_CONFLICT",
    Reason.NO_SPACE: "NO_SPACE",
    Reason.CORRUPT: "CORRUPT_WRITE",
    Reason.UNSIZED: "NO_SIZE",
    Reason.UNSUPPORTED: "REMOTE_FAILURE",
    Reason.FAILURE: "REMOTE_FAILURE",
}


def file_error(failure: FileError) -> ConnectorError:
    """One file's failure as the port's error."""
    if failure.reason is Reason.MISSING:
        return missing(posixpath.dirname(failure.path))
    if failure.reason is Reason.DENIED:
        folder = posixpath.dirname(failure.path)
        return ConnectorError(
            "PERMISSION",
            public=f"The server does not permit this in the folder {folder}.",
            detail=str(failure),
        )
    return ConnectorError(_CODES[failure.reason], detail=str(failure))


def rename_error(failure: FileError) -> ConnectorError:
    """A failed rename as the port's error: a refusal is the server's policy, not the folder's."""
    if failure.reason in (Reason.DENIED, Reason.UNSUPPORTED):
        return ConnectorError("NO_RENAME", detail=str(failure))
    return file_error(failure)


def missing(folder: str) -> ConnectorError:
    return ConnectorError("DIR_MISSING", public=f"The folder {folder} does not exist.")


def list_entries(folder: DropFolder, path: str) -> Iterator[Entry]:
    """What is in the folder at a path. Raises ConnectorError."""
    try:
        yield from folder.entries(path)
    except FileError as e:
        raise missing(path) if e.reason is Reason.MISSING else file_error(e) from e


def read_files(
    folder: DropFolder, paths: Sequence[str], *, limit: int
) -> list[bytes | ConnectorError | None]:
    """Up to `limit` bytes of each file; None if there is none."""
    results: list[bytes | ConnectorError | None] = []
    for found in folder.read(paths, limit=limit):
        if not isinstance(found, FileError):
            results.append(found)
        else:
            results.append(None if found.reason is Reason.MISSING else file_error(found))
    return results
