"""The ack folder of a dropzone: its files are listed, read, and moved once they are recorded."""

import posixpath
import uuid
from collections.abc import Iterator, Sequence

from connectors.dropzone import acks, naming
from connectors.dropzone.failures import list_entries, read_files, rename_error
from connectors.dropzone.folder import DropFolder, FileError, Reason, Stat
from connectors.errors import ConnectorError
from connectors.port import AckFile, AckMove

# Where acks are moved, below the ack folder: processed, malformed.
ACK_FOLDERS = ("processed", "error")


class AckFolder:
    """The part of a session that concerns acks; `path` is None where no ERP writes any."""

    def __init__(self, folder: DropFolder, path: str | None) -> None:
        self._folder = folder
        self._path = path

    def files(self) -> Iterator[AckFile]:
        if self._path is None:
            return
        for name, found in list_entries(self._folder, self._path):
            if found.is_file:
                yield _ack_file(name, found)

    def moved_files(self) -> Iterator[AckFile]:
        if self._path is None:
            return
        for folder in ACK_FOLDERS:
            path = self._at(folder)
            # It is made when the first ack is moved.
            if self._folder.identity(path) is None:
                continue
            for name, found in list_entries(self._folder, path):
                if found.is_file:
                    yield _ack_file(name, found, folder=folder)

    def read(self, files: Sequence[AckFile]) -> list[bytes | ConnectorError | None]:
        paths = [self._at(file.path) for file in files]
        return read_files(self._folder, paths, limit=acks.MAX_BYTES + 1)

    def move(self, moves: Sequence[AckMove]) -> list[ConnectorError | None]:
        looks = self._folder.lstat(
            [self._at(m.file.name) for m in moves] + [self._target(m) for m in moves]
        )
        pairs: dict[int, tuple[str, str]] = {}
        for i, (move, now, taken) in enumerate(
            zip(moves, looks[: len(moves)], looks[len(moves) :], strict=True)
        ):
            file = move.file
            if isinstance(now, Stat) and (now.size, now.modified_at) == (
                file.size,
                file.modified_at,
            ):
                target = self._target(move, suffix=f".{uuid.uuid4().hex[:8]}" if taken else "")
                pairs[i] = (self._at(file.name), target)
        renamed = self._rename(list(pairs.values()))
        results: list[ConnectorError | None] = [None] * len(moves)
        for i, failure in zip(pairs, renamed, strict=True):
            if failure:
                results[i] = rename_error(failure)
        return results

    def _rename(self, pairs: Sequence[tuple[str, str]]) -> list[FileError | None]:
        results = self._folder.rename(pairs)
        # The target may be there because somebody else has just moved the same file.
        reasons = (Reason.MISSING, Reason.EXISTS)
        lost = [i for i, e in enumerate(results) if e and e.reason in reasons]
        if lost:
            for folder in ACK_FOLDERS:
                self._folder.make(self._at(folder))
            again = self._folder.rename([pairs[i] for i in lost])
            there = self._folder.lstat([pairs[i][0] for i in lost])
            for i, failure, source in zip(lost, again, there, strict=True):
                # What somebody else has taken away needs no moving.
                results[i] = failure if source else None
        return results

    def _at(self, name: str) -> str:
        return posixpath.join(self._path or "", name)

    def _target(self, move: AckMove, suffix: str = "") -> str:
        folder = ACK_FOLDERS[move.is_malformed]
        return posixpath.join(self._at(folder), f"{move.file.name}{suffix}")


def _ack_file(name: str, found: Stat, folder: str = "") -> AckFile:
    return AckFile(
        name=name,
        folder=folder,
        subject=naming.parse_ack_filename(name),
        size=found.size,
        modified_at=found.modified_at,
        intended=naming.intended_ack_filename(name),
    )
