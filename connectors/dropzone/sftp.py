"""A dropzone on an SFTP server, spoken to in bursts: many requests, then all their answers."""

import posixpath
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from paramiko.message import Message
from paramiko.sftp import (
    CMD_ATTRS,
    CMD_CLOSE,
    CMD_DATA,
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_FSTAT,
    CMD_HANDLE,
    CMD_INIT,
    CMD_LSTAT,
    CMD_NAME,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_REMOVE,
    CMD_RENAME,
    CMD_STAT,
    CMD_STATUS,
    CMD_VERSION,
    CMD_WRITE,
    SFTP_EOF,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_READ,
    SFTP_FLAG_WRITE,
    SFTP_NO_SUCH_FILE,
    SFTP_OK,
    SFTP_OP_UNSUPPORTED,
    SFTP_PERMISSION_DENIED,
    SFTPError,
    int64,
)
from paramiko.ssh_exception import SSHException

from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason, Stat
from connectors.dropzone.ssh import Connection
from connectors.errors import ConnectorError

CHUNK = 32 * 1024  # what every server takes in one write or gives in one read
_VERSION = 3
_LARGEST_PACKET = 1024 * 1024
_SLOWEST = 64 * 1024  # bytes a second below which a transfer counts as stalled

_REASONS = {
    SFTP_NO_SUCH_FILE: Reason.MISSING,
    SFTP_PERMISSION_DENIED: Reason.DENIED,
    SFTP_OP_UNSUPPORTED: Reason.UNSUPPORTED,
}

# What an attributes structure holds, by its flags.
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENSIONS = 0x1, 0x2, 0x4, 0x8, 0x80000000

POSIX_RENAME = "posix-rename@openssh.com"
FSYNC = "fsync@openssh.com"
STATVFS = "statvfs@openssh.com"


Request = tuple[int, tuple[Any, ...]]


class Reply(NamedTuple):
    """A server's answer to one request."""

    kind: int
    body: Message

    def failure(self, path: str) -> FileError | None:
        """The error that the answer is, if it is one."""
        if self.kind != CMD_STATUS:
            return None
        code, text = self.body.get_int(), self.body.get_text()
        if code == SFTP_OK:
            return None
        return FileError(_REASONS.get(code, Reason.FAILURE), path, f"status {code} {text!r}")


class Pipeline:
    """SFTP requests on a channel, any number in flight, each with its own answer.

    paramiko's own pipelining drops the answers to writes, so a full disk looks like a success.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.channel
        self._received = bytearray()
        self._next_id = 0
        with self._guarded(connection.operation_timeout):
            self.extensions = self._handshake()

    def burst(self, requests: Sequence[Request], *, size: int = 0) -> list[Reply]:
        """Send all requests, then read the answer to each; one round trip.

        `size`: bytes that travel, for the deadline. Raises ConnectorError if the connection fails.
        """
        if not requests:
            return []
        first = self._next_id
        self._next_id += len(requests)
        with self._guarded(self._connection.operation_timeout + size / _SLOWEST):
            packets = [_packet(first + i, *request) for i, request in enumerate(requests)]
            self._channel.sendall(b"".join(packets))
            replies: dict[int, Reply] = {}
            while len(replies) < len(requests):
                kind, body = self._read_packet()
                number = body.get_int()
                if not first <= number < self._next_id or number in replies:
                    raise SFTPError(f"answer to request {number}, which was not asked")
                replies[number] = Reply(kind, body)
        return [replies[first + i] for i in range(len(requests))]

    def _handshake(self) -> frozenset[str]:
        self._channel.sendall(struct.pack(">IBI", 5, CMD_INIT, _VERSION))
        kind, body = self._read_packet()
        if kind != CMD_VERSION:
            raise SFTPError("no SFTP version in the first packet")
        body.get_int()
        names = set()
        while body.get_remainder():
            names.add(body.get_text())
            body.get_binary()
        return frozenset(names)

    def _read_packet(self) -> tuple[int, Message]:
        (size,) = struct.unpack(">I", self._read(4))
        if not 0 < size <= _LARGEST_PACKET:
            raise SFTPError(f"packet of {size} bytes")
        packet = self._read(size)
        return packet[0], Message(packet[1:])

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self._channel.recv(CHUNK)
            if not data:
                raise EOFError("the server closed the channel")
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    @contextmanager
    def _guarded(self, seconds: float) -> Iterator[None]:
        # After a failure no answer can be matched to its request any more: the connection goes.
        try:
            with self._connection.deadline(seconds):
                yield
        except (EOFError, OSError, SSHException) as e:
            self._connection.close()
            raise ConnectorError("CONNECTION_LOST", detail=repr(e)) from e
        except (SFTPError, struct.error, UnicodeDecodeError) as e:
            self._connection.close()
            raise ConnectorError("SERVER_PROTOCOL_ERROR", detail=repr(e)) from e


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

    def __exit__(self, *exc_info: Any) -> None:
        self._connection.close()

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        # The mode travels with the open: some servers refuse to change it later.
        mode = () if self._file_mode is None else (_HAS_MODE, self._file_mode)
        flags = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL
        requests: list[Request] = []
        for file in files:
            requests.append((CMD_LSTAT, (file.unless,)))
            requests.append((CMD_OPEN, (file.path, flags, *(mode or (0,)))))
        replies = self._pipeline.burst(requests)
        results: list[FileError | None] = []
        handles: list[bytes | None] = []
        for file, looked, opened in zip(files, replies[::2], replies[1::2], strict=True):
            handle = opened.body.get_binary() if opened.kind == CMD_HANDLE else None
            handles.append(handle)
            if handle is None:
                results.append(opened.failure(file.path) or _unexpected(opened, file.path))
            elif looked.kind == CMD_ATTRS:
                results.append(FileError(Reason.EXISTS, file.unless))
            else:
                results.append(None)
        self._write(files, handles, results)
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
                    (CMD_WRITE, (handle, int64(at), file.content[at : at + CHUNK]))
                    for at in range(0, len(file.content), CHUNK)
                ]
                if FSYNC in self.extensions:
                    mine.append((CMD_EXTENDED, (FSYNC, handle)))
                mine.append((CMD_FSTAT, (handle,)))
            mine.append((CMD_CLOSE, (handle,)))
            requests += mine
            owners += [i] * len(mine)
        sent = sum(len(file.content) for file in files)
        recheck: list[int] = []
        for i, reply in zip(owners, self._pipeline.burst(requests, size=sent), strict=True):
            path = files[i].path
            if reply.kind == CMD_ATTRS:
                if _stat(reply).size != len(files[i].content):
                    recheck.append(i)
            elif failure := reply.failure(path):
                results[i] = results[i] or failure
        # A server that answers out of order may have measured a file before it was written.
        recheck = [i for i in recheck if results[i] is None]
        for i, found in zip(recheck, self.lstat([files[i].path for i in recheck]), strict=True):
            if not isinstance(found, Stat) or found.size != len(files[i].content):
                results[i] = FileError(Reason.CORRUPT, files[i].path, repr(found))

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
                (CMD_EXTENDED, (POSIX_RENAME, source, target))
                if has_posix_rename
                else (CMD_RENAME, (source, target))
            )
            requests.append((CMD_LSTAT, (source,)))
        replies = self._pipeline.burst(requests)
        results = [r.failure(source) for r, (source, _) in zip(replies[::2], moves, strict=True)]
        # A source that still exists after an OK: looked at too early by a server that answers out
        # of order, or a second link to the target, which posix-rename leaves alone.
        doubtful = [
            i
            for i, looked in enumerate(replies[1::2])
            if results[i] is None and looked.kind == CMD_ATTRS
        ]
        linked = [
            i
            for i, found in zip(doubtful, self.lstat([moves[i][0] for i in doubtful]), strict=True)
            if isinstance(found, Stat)
        ]
        for i, failure in zip(linked, self.remove([moves[i][0] for i in linked]), strict=True):
            if failure and failure.reason is not Reason.MISSING:
                results[i] = failure
        return results

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        replies = self._pipeline.burst([(CMD_LSTAT, (path,)) for path in paths])
        results: list[Stat | FileError | None] = []
        for path, reply in zip(paths, replies, strict=True):
            if reply.kind == CMD_ATTRS:
                results.append(_stat(reply))
            else:
                failure = reply.failure(path) or _unexpected(reply, path)
                results.append(None if failure.reason is Reason.MISSING else failure)
        return results

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        # Only regular files: opening a pipe would block the whole server.
        looks = self.lstat(paths)
        results: list[bytes | FileError] = []
        for path, look in zip(paths, looks, strict=True):
            if look is None:
                results.append(FileError(Reason.MISSING, path))
            elif isinstance(look, FileError):
                results.append(look)
            elif not look.is_file:
                results.append(FileError(Reason.DENIED, path, "not a regular file"))
            else:
                results.append(self._read(path, min(limit, look.size or limit)))
        return results

    def _read(self, path: str, limit: int) -> bytes | FileError:
        (opened,) = self._pipeline.burst([(CMD_OPEN, (path, SFTP_FLAG_READ, 0))])
        if opened.kind != CMD_HANDLE:
            return opened.failure(path) or _unexpected(opened, path)
        handle = opened.body.get_binary()
        chunks: list[bytes] = []
        received = 0
        failure: FileError | None = None
        while received < limit and failure is None:
            (reply,) = self._pipeline.burst(
                [(CMD_READ, (handle, int64(received), min(CHUNK, limit - received)))], size=CHUNK
            )
            if reply.kind != CMD_DATA:
                failure = reply.failure(path) or _unexpected(reply, path)
                break
            chunks.append(reply.body.get_binary())
            received += len(chunks[-1])
        self._pipeline.burst([(CMD_CLOSE, (handle,))])
        if failure and f"status {SFTP_EOF} " not in failure.detail:
            return failure
        return b"".join(chunks)

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        replies = self._pipeline.burst([(CMD_REMOVE, (path,)) for path in paths])
        return [reply.failure(path) for path, reply in zip(paths, replies, strict=True)]

    def names(self, folder: str) -> Iterator[str]:
        (opened,) = self._pipeline.burst([(CMD_OPENDIR, (folder,))])
        if opened.kind != CMD_HANDLE:
            raise opened.failure(folder) or _unexpected(opened, folder)
        handle = opened.body.get_binary()
        try:
            while True:
                (reply,) = self._pipeline.burst([(CMD_READDIR, (handle,))])
                if reply.kind != CMD_NAME:
                    break
                for _ in range(reply.body.get_int()):
                    name = reply.body.get_binary().decode("utf-8", "surrogateescape")
                    reply.body.get_binary()
                    _skip_attributes(reply.body)
                    if name not in (".", ".."):
                        yield name
            failure = reply.failure(folder)
            if failure and f"status {SFTP_EOF} " not in failure.detail:
                raise failure
        finally:
            self._pipeline.burst([(CMD_CLOSE, (handle,))])

    def identity(self, folder: str) -> str | None:
        (reply,) = self._pipeline.burst([(CMD_STAT, (folder,))])
        if reply.kind != CMD_ATTRS:
            failure = reply.failure(folder) or _unexpected(reply, folder)
            return None if failure.reason is Reason.MISSING else ""
        vfs = self._statvfs(folder)
        return f"fsid:{vfs[8]:x}" if vfs else ""

    def free_bytes(self, folder: str) -> int | None:
        vfs = self._statvfs(folder)
        return vfs[1] * vfs[4] if vfs else None

    def _statvfs(self, folder: str) -> tuple[int, ...] | None:
        """The eleven numbers of statvfs: [1] fragment size, [4] blocks available, [8] fsid."""
        if STATVFS not in self.extensions:
            return None
        (reply,) = self._pipeline.burst([(CMD_EXTENDED, (STATVFS, folder))])
        if reply.kind != CMD_EXTENDED_REPLY:
            return None
        numbers: tuple[int, ...] = struct.unpack(">11Q", reply.body.get_remainder()[:88])
        return numbers


def _packet(number: int, command: int, arguments: tuple[Any, ...]) -> bytes:
    message = Message()
    message.add_byte(bytes([command]))
    message.add_int(number)
    for argument in arguments:
        if isinstance(argument, int64):
            message.add_int64(argument)
        elif isinstance(argument, int):
            message.add_int(argument)
        elif isinstance(argument, str):
            message.add_string(argument.encode("utf-8", "surrogateescape"))
        else:
            message.add_string(argument)
    payload = message.asbytes()
    return struct.pack(">I", len(payload)) + payload


def _stat(reply: Reply) -> Stat:
    body = reply.body
    flags = body.get_int()
    size = body.get_int64() if flags & _HAS_SIZE else None
    if flags & _HAS_OWNER:
        body.get_int64()
    return Stat(size, is_file=not flags & _HAS_MODE or stat.S_ISREG(body.get_int()))


def _skip_attributes(body: Message) -> None:
    flags = body.get_int()
    for flag, width in ((_HAS_SIZE, 8), (_HAS_OWNER, 8), (_HAS_MODE, 4), (_HAS_TIMES, 8)):
        if flags & flag:
            body.get_bytes(width)
    if flags & _HAS_EXTENSIONS:
        for _ in range(2 * body.get_int()):
            body.get_binary()


def _unexpected(reply: Reply, path: str) -> FileError:
    return FileError(Reason.FAILURE, path, f"unexpected answer of type {reply.kind}")
