"""A DropFolder on an SFTP server: many requests are sent at once, then all replies are read."""

import posixpath
import stat
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from paramiko import sftp as wire
from paramiko.message import Message

from connectors.dropzone.folder import DropFolder, Entry, FileError, NewFile, Reason, Stat
from connectors.dropzone.sftp.pipeline import CHUNK, Pipeline, Reply, Request
from connectors.dropzone.sftp.ssh import Connection
from kernel.failpoints import failpoint

# What an attributes structure holds, by its flags.
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENSIONS = 0x1, 0x2, 0x4, 0x8, 0x80000000

# Answers to a burst of listings are held in memory, some 20 KB each.
_MOST_LISTINGS = 16

_LARGEST_SIZE = 2**63 - 1

POSIX_RENAME = "posix-rename@openssh.com"
FSYNC = "fsync@openssh.com"
STATVFS = "statvfs@openssh.com"


class SftpFolder(DropFolder):
    def __init__(self, connection: Connection, *, file_mode: int | None = None) -> None:
        self._connection = connection
        self._file_mode = file_mode
        try:
            self._pipeline = Pipeline(connection)
        except BaseException:
            connection.close()
            raise

    @property
    def extensions(self) -> frozenset[str]:
        """The protocol extensions that the server advertised."""
        return self._pipeline.extensions

    @property
    def host_key(self) -> str:
        """The public key that the server has shown."""
        return self._connection.host_key

    @property
    def is_open(self) -> bool:
        """Whether the session can still be used; it cannot after any error of its own."""
        return self._connection.is_open

    def check(self, timeout: float) -> None:
        """See that the server still answers. Raises ConnectorError."""
        self._pipeline.burst([(wire.CMD_STAT, (".",))], timeout=timeout)

    def close(self) -> None:
        self._connection.close()

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        # The mode travels with the open: some servers refuse to change it later.
        attributes = (0,) if self._file_mode is None else (_HAS_MODE, self._file_mode)
        flags = wire.SFTP_FLAG_WRITE | wire.SFTP_FLAG_CREATE | wire.SFTP_FLAG_EXCL
        requests: list[Request] = []
        for file in files:
            requests.append((wire.CMD_LSTAT, (file.unless,)))
            requests.append((wire.CMD_OPEN, (file.path, flags, *attributes)))
        replies = self._pipeline.burst(requests)
        failpoint("created")
        results: list[FileError | None] = []
        handles: list[bytes | None] = []
        for file, looked, opened in zip(files, replies[::2], replies[1::2], strict=True):
            handle = opened.body.get_binary() if opened.kind == wire.CMD_HANDLE else None
            handles.append(handle)
            if handle is None:
                results.append(opened.unexpected(file.path))
            elif looked.kind == wire.CMD_ATTRS:
                results.append(FileError(Reason.EXISTS, file.unless))
            else:
                results.append(None)
        self._write(files, handles, results)
        failpoint("synced")
        self._explain_failures(files, results)
        self.remove(
            [
                file.path
                for file, handle, result in zip(files, handles, results, strict=True)
                if result and handle and file.path != file.unless
            ]
        )
        return results

    def _write(
        self,
        files: Sequence[NewFile],
        handles: Sequence[bytes | None],
        results: list[FileError | None],
    ) -> None:
        """Write, sync, compare and close in one round trip; put what failed into `results`."""
        requests: list[Request] = []
        owners: list[int] = []
        for i, (file, handle) in enumerate(zip(files, handles, strict=True)):
            if handle is None:
                continue
            mine: list[Request] = []
            if results[i] is None:
                mine += [
                    (wire.CMD_WRITE, (handle, wire.int64(at), file.content[at : at + CHUNK]))
                    for at in range(0, len(file.content), CHUNK)
                ]
                if FSYNC in self.extensions:
                    mine.append((wire.CMD_EXTENDED, (FSYNC, handle)))
                mine.append((wire.CMD_FSTAT, (handle,)))
            mine.append((wire.CMD_CLOSE, (handle,)))
            requests += mine
            owners += [i] * len(mine)
        sent = sum(len(file.content) for file in files)
        recheck: list[int] = []
        for i, reply in zip(owners, self._pipeline.burst(requests, size=sent), strict=True):
            path = files[i].path
            if reply.kind == wire.CMD_ATTRS:
                if _stat(reply.body).size != len(files[i].content):
                    recheck.append(i)
            elif failure := reply.failure(path):
                results[i] = results[i] or failure
        # A server that answers out of order may have measured a file before it was written.
        recheck = [i for i in recheck if results[i] is None]
        for i, found in zip(recheck, self.lstat([files[i].path for i in recheck]), strict=True):
            if not isinstance(found, Stat) or found.size != len(files[i].content):
                is_unsized = isinstance(found, Stat) and found.size is None
                reason = Reason.UNSIZED if is_unsized else Reason.CORRUPT
                results[i] = FileError(reason, files[i].path, repr(found))

    def _explain_failures(self, files: Sequence[NewFile], results: list[FileError | None]) -> None:
        # OpenSSH calls a full disk, a quota and much else just "Failure".
        vague = [
            i for i, result in enumerate(results) if result and result.reason is Reason.FAILURE
        ]
        if vague:
            path = files[vague[0]].path
            free = self.free_bytes(posixpath.dirname(path))
            for i in vague:
                if free is not None and free < len(files[i].content):
                    results[i] = FileError(Reason.NO_SPACE, path, f"{free} bytes free")

    def rename(self, moves: Sequence[tuple[str, str]]) -> list[FileError | None]:
        has_posix_rename = POSIX_RENAME in self.extensions
        requests: list[Request] = []
        for source, target in moves:
            requests.append(
                (wire.CMD_EXTENDED, (POSIX_RENAME, source, target))
                if has_posix_rename
                else (wire.CMD_RENAME, (source, target))
            )
            requests.append((wire.CMD_LSTAT, (source,)))
        failpoint("renaming")
        replies = self._pipeline.burst(requests)
        failpoint("renamed")
        results = [r.failure(source) for r, (source, _) in zip(replies[::2], moves, strict=True)]
        # A source that still exists after an OK: looked at too early by a server that answers out
        # of order, or a second link to the target, which posix-rename leaves alone.
        doubtful = [
            i
            for i, looked in enumerate(replies[1::2])
            if results[i] is None and looked.kind == wire.CMD_ATTRS
        ]
        sources = self.lstat([moves[i][0] for i in doubtful])
        targets = self.lstat([moves[i][1] for i in doubtful])
        linked = []
        for i, old, new in zip(doubtful, sources, targets, strict=True):
            if isinstance(old, Stat) and old == new and old.is_file:
                linked.append(i)
            elif old is not None:
                results[i] = FileError(Reason.FAILURE, moves[i][0], "still there after its rename")
        for i, failure in zip(linked, self.remove([moves[i][0] for i in linked]), strict=True):
            if failure and failure.reason is not Reason.MISSING:
                results[i] = failure
        return results

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        replies = self._pipeline.burst([(wire.CMD_LSTAT, (path,)) for path in paths])
        results: list[Stat | FileError | None] = []
        for path, reply in zip(paths, replies, strict=True):
            if reply.kind == wire.CMD_ATTRS:
                results.append(_stat(reply.body))
            else:
                failure = reply.unexpected(path)
                results.append(None if failure.reason is Reason.MISSING else failure)
        return results

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        # Only regular files: opening a pipe would block the whole server.
        looks = self.lstat(paths)
        results: list[bytes | FileError] = []
        sizes: dict[int, int] = {}
        for i, (path, look) in enumerate(zip(paths, looks, strict=True)):
            results.append(FileError(Reason.MISSING, path) if look is None else b"")
            if isinstance(look, FileError):
                results[i] = look
            elif look and not look.is_file:
                results[i] = FileError(Reason.DENIED, path, "not a regular file")
            elif look:
                sizes[i] = min(limit, limit if look.size is None else look.size)
        self._read(paths, sizes, results)
        return results

    def _read(
        self, paths: Sequence[str], sizes: dict[int, int], results: list[bytes | FileError]
    ) -> None:
        """Read up to `sizes` bytes of the files with these indices into `results`."""
        opened = self._pipeline.burst(
            [(wire.CMD_OPEN, (paths[i], wire.SFTP_FLAG_READ, 0)) for i in sizes]
        )
        handles: dict[int, bytes] = {}
        for i, reply in zip(sizes, opened, strict=True):
            if reply.kind == wire.CMD_HANDLE:
                handles[i] = reply.body.get_binary()
            else:
                results[i] = reply.unexpected(paths[i])
        received = {i: bytearray() for i in handles}
        unread = [i for i in handles if sizes[i]]
        while unread:
            replies = self._pipeline.burst(
                [
                    (
                        wire.CMD_READ,
                        (
                            handles[i],
                            wire.int64(len(received[i])),
                            min(CHUNK, sizes[i] - len(received[i])),
                        ),
                    )
                    for i in unread
                ],
                size=CHUNK * len(unread),
            )
            for i, reply in zip(list(unread), replies, strict=True):
                if reply.kind == wire.CMD_DATA:
                    chunk = reply.body.get_binary()
                    received[i] += chunk
                    if chunk and len(received[i]) < sizes[i]:
                        continue
                elif not reply.is_end:
                    results[i] = reply.unexpected(paths[i])
                unread.remove(i)
        self._pipeline.burst([(wire.CMD_CLOSE, (handle,)) for handle in handles.values()])
        for i, content in received.items():
            if results[i] == b"":
                results[i] = bytes(content)

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        replies = self._pipeline.burst([(wire.CMD_REMOVE, (path,)) for path in paths])
        return [reply.failure(path) for path, reply in zip(paths, replies, strict=True)]

    def entries(self, folder: str) -> Iterator[Entry]:
        (opened,) = self._pipeline.burst([(wire.CMD_OPENDIR, (folder,))])
        if opened.kind != wire.CMD_HANDLE:
            raise opened.unexpected(folder)
        handle = opened.body.get_binary()
        try:
            replies: list[Reply] = []
            # Twice: the names, and that there are no more. A large folder is asked for in ever
            # longer bursts.
            while all(reply.kind == wire.CMD_NAME for reply in replies):
                count = min(2 * len(replies) or 2, _MOST_LISTINGS)
                replies = self._pipeline.burst([(wire.CMD_READDIR, (handle,))] * count)
                for reply in replies:
                    if reply.kind == wire.CMD_NAME:
                        yield from _entries(reply.body)
                    elif not reply.is_end:
                        raise reply.unexpected(folder)
        finally:
            self._pipeline.burst([(wire.CMD_CLOSE, (handle,))])

    def make(self, folder: str) -> FileError | None:
        (reply,) = self._pipeline.burst([(wire.CMD_MKDIR, (folder, 0))])
        return reply.failure(folder)

    def identity(self, folder: str) -> str | None:
        requests: list[Request] = [(wire.CMD_STAT, (folder,)), *self._statvfs(folder)]
        looked, *told = self._pipeline.burst(requests)
        if looked.kind != wire.CMD_ATTRS:
            failure = looked.unexpected(folder)
            return None if failure.reason is Reason.MISSING else ""
        vfs = _read_statvfs(told)
        # Some servers fill in 0.
        return f"fsid:{vfs[8]:x}" if vfs and vfs[8] else ""

    def free_bytes(self, folder: str) -> int | None:
        vfs = _read_statvfs(self._pipeline.burst(self._statvfs(folder)))
        return vfs[1] * vfs[4] if vfs else None

    def _statvfs(self, folder: str) -> list[Request]:
        """The request, if the server takes it."""
        return [(wire.CMD_EXTENDED, (STATVFS, folder))] if STATVFS in self.extensions else []


def _entries(body: Message) -> Iterator[Entry]:
    for _ in range(body.get_int()):
        name = body.get_binary().decode("utf-8", "surrogateescape")
        body.get_binary()
        found = _stat(body)
        if name not in (".", ".."):
            yield Entry(name, found)


def _stat(body: Message) -> Stat:
    """Read an attributes structure, all of it: another one may follow."""
    flags = body.get_int()
    size = body.get_int64() if flags & _HAS_SIZE else None
    if size is not None and size > _LARGEST_SIZE:
        size = None  # some servers mean "unknown" by it
    if flags & _HAS_OWNER:
        body.get_bytes(8)
    is_file = not flags & _HAS_MODE or stat.S_ISREG(body.get_int())
    modified_at = None
    if flags & _HAS_TIMES:
        body.get_int()
        modified_at = body.get_int()
    if flags & _HAS_EXTENSIONS:
        for _ in range(2 * body.get_int()):
            body.get_binary()
    return Stat(size, is_file, modified_at)


def _read_statvfs(told: Sequence[Reply]) -> tuple[int, ...] | None:
    """The eleven numbers of statvfs: [1] fragment size, [4] blocks available, [8] fsid."""
    numbers = [r.body.get_remainder()[:88] for r in told if r.kind == wire.CMD_EXTENDED_REPLY]
    return struct.unpack(">11Q", numbers[0]) if numbers and len(numbers[0]) == 88 else None
