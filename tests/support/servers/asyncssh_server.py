"""An SFTP server in this process that can be told to misbehave."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import asyncssh
from asyncssh.constants import FXP_EXTENDED
from asyncssh.packet import SSHPacket
from asyncssh.sftp import SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from .keys import new_key, public_line
from .loop import LoopThread
from .process import HOST, free_port, scratch_folder


@dataclass(kw_only=True)
class Faults:
    """What the server does wrong from now on. Every field may be changed while it runs."""

    # Limits the faults below, except hidden extensions, to paths that contain this text.
    only: str = ""
    # Writes past so many bytes of one file fail, as on a full disk.
    disk_full_after: int | None = None
    # Writes past so many bytes of one file are confirmed and lost.
    lose_after: int | None = None
    # What is written instead of the data of each request, e.g. line ends of a text mode.
    change_bytes: Callable[[bytes], bytes] | None = None
    # Renames of both kinds are "Permission denied".
    refuse_rename: bool = False
    # The connection is lost instead of an answer, once, before or after the file is renamed.
    drop_at_rename: Literal["before", "after"] | None = None
    # stat, lstat and fstat leave the size out.
    no_sizes: bool = False
    # Extensions such as "fsync@openssh.com" that sessions opened later neither show nor serve.
    hidden_extensions: frozenset[str] = frozenset()
    # Logins end with a DISCONNECT message at this step: its reason code and its text.
    dismiss_at: Literal["begin_auth", "password", "auth_completed", "session"] | None = None
    dismissal: tuple[int, str] = (12, "Too many connections")


class Operation(NamedTuple):
    """One SFTP request: OPEN is "open"; its path, and a rename's new path, as the client sees."""

    name: str
    path: str
    target: str = ""


class AuthAttempt(NamedTuple):
    """Credentials that a client sent. A key may be asked about first and so appear twice."""

    method: Literal["password", "publickey"]
    username: str
    accepted: bool


@dataclass(kw_only=True)
class AsyncSSHServer:
    """asyncssh's SFTP server in a thread, its root being `root` with `/exports` and `/acks`.

    It works off pipelined requests one by one, in order. Without a `password` it takes keys only.
    """

    folder: Path = field(default_factory=lambda: scratch_folder("asyncssh"))
    username: str = "erp"
    password: str | None = "correct horse"
    user_key: str = field(default_factory=new_key)
    host_keys: list[str] = field(default_factory=lambda: [new_key()])
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.host = HOST
        self.port = free_port()
        self.root = self.folder / "root"
        for name in ("exports", "acks"):
            (self.root / name).mkdir(parents=True)
        self.operations: list[Operation] = []
        self.auth_attempts: list[AuthAttempt] = []
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._loop: LoopThread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def host_key(self) -> str:
        """The public line of the first host key."""
        return public_line(self.host_keys[0])

    def start(self) -> None:
        """Listen, with the host keys there are now."""
        self._loop = LoopThread("asyncssh-server")
        self._listener = self._loop.run(self._listen())

    def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._loop is not None:
            self._loop.run(self._close())
            self._loop.close()
            self._loop = None

    def restart(self, *, host_keys: list[str] | None = None) -> None:
        """Stop and start on the same port, with other host keys if given."""
        self.stop()
        self.host_keys = host_keys or self.host_keys
        self.start()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: _Login(self),
            server_host_keys=[asyncssh.import_private_key(key) for key in self.host_keys],
            encoding=None,
        )

    async def _close(self) -> None:
        self._listener.close()
        connections = list(self.connections)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in connections))


class _Login(asyncssh.SSHServer):
    """One client's connection, up to the start of SFTP."""

    def __init__(self, server: AsyncSSHServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._dismiss("begin_auth")
        return True

    def auth_completed(self) -> None:
        self._dismiss("auth_completed")

    def password_auth_supported(self) -> bool:
        return self._server.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        self._dismiss("password")
        return self._judge("password", username, password == self._server.password)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        known = asyncssh.import_private_key(self._server.user_key).public_data
        return self._judge("publickey", username, key.public_data == known)

    def kbdint_auth_supported(self) -> bool:
        return False

    def session_requested(self) -> SSHServerStreamSession[bytes]:
        self._dismiss("session")
        return _Session(self._server)

    def _dismiss(self, step: str) -> None:
        if self._server.faults.dismiss_at == step:
            self._connection.disconnect(*self._server.faults.dismissal)

    def _judge(self, method: Literal["password", "publickey"], username: str, match: bool) -> bool:
        server = self._server
        accepted = match and username == server.username
        server.auth_attempts.append(AuthAttempt(method, username, accepted))
        return accepted


class _Session(SSHServerStreamSession[bytes]):
    """A session whose SFTP requests go to `_Requests`; asyncssh offers no option for that."""

    def __init__(self, server: AsyncSSHServer) -> None:
        super().__init__(None)
        self._server = server

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        channel: Any = self._chan
        reader, writer = SSHReader[bytes](self, channel), SSHWriter[bytes](self, channel)
        requests = _Requests(self._server, _Files(channel, self._server), reader, writer)
        channel.get_connection().create_task(requests.run(), reader.logger)


class _Requests(SFTPServerHandler):
    """Notes every request and leaves out hidden extensions."""

    def __init__(
        self,
        server: AsyncSSHServer,
        files: "_Files",
        reader: SSHReader[bytes],
        writer: SSHWriter[bytes],
    ) -> None:
        super().__init__(files, reader, writer, sftp_version=3)
        self._operations = server.operations
        self._files = files
        hidden = {name.encode() for name in server.faults.hidden_extensions}
        self._extensions = [entry for entry in self._extensions if entry[0] not in hidden]
        self._packet_handlers = {
            kind: handler for kind, handler in self._packet_handlers.items() if kind not in hidden
        }

    async def _process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        self._operations.append(self._describe(pkttype, packet.get_remaining_payload()))
        await super()._process_packet(pkttype, pktid, packet)

    def _describe(self, kind: int | bytes, payload: bytes) -> Operation:
        packet = SSHPacket(payload)
        if kind == FXP_EXTENDED:
            kind = packet.get_string()
        handler = SFTPServerHandler._packet_handlers.get(kind)
        name = handler.__name__.removeprefix("_process_") if handler else str(kind)
        subject = packet.get_string() if packet else b""
        target = packet.get_string() if name.endswith("rename") else b""
        if subject in self._file_handles:
            subject = self._files.path_of(self._file_handles[subject])
        elif subject in self._dir_handles:
            subject = b""
        return Operation(name, os.fsdecode(subject), os.fsdecode(target))


class _Files(asyncssh.SFTPServer):
    """The files under the server's root, with its faults."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], server: AsyncSSHServer) -> None:
        super().__init__(channel, chroot=os.fsencode(server.root))
        self._server = server

    def path_of(self, file: Any) -> bytes:
        """Return the path under which a client opened the file."""
        return self.reverse_map_path(os.fsencode(file.name))

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        faults = self._faults_for(self.path_of(file_obj))
        kept = data
        if faults.disk_full_after is not None:
            kept = data[: max(0, faults.disk_full_after - offset)]
        elif faults.lose_after is not None:
            kept = data[: max(0, faults.lose_after - offset)]
        elif faults.change_bytes is not None:
            kept = faults.change_bytes(data)
        super().write(file_obj, offset, kept)
        if faults.disk_full_after is not None and len(kept) < len(data):
            raise asyncssh.SFTPFailure("Failure")
        return len(data)

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        self._move(super().rename, oldpath, newpath)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        self._move(super().posix_rename, oldpath, newpath)

    def stat(self, path: bytes) -> Any:
        return self._attributes(super().stat(path), path)

    def lstat(self, path: bytes) -> Any:
        return self._attributes(super().lstat(path), path)

    def fstat(self, file_obj: Any) -> Any:
        return self._attributes(super().fstat(file_obj), self.path_of(file_obj))

    def _move(self, move: Callable[[bytes, bytes], Any], oldpath: bytes, newpath: bytes) -> None:
        faults = self._faults_for(oldpath)
        if faults.refuse_rename:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        drop = faults.drop_at_rename
        if drop is not None:
            self._server.faults.drop_at_rename = None
        if drop != "before":
            move(oldpath, newpath)
        if drop is not None:
            self.connection.abort()

    def _attributes(self, found: Any, path: bytes) -> Any:
        if not self._faults_for(path).no_sizes:
            return found
        attributes = asyncssh.SFTPAttrs.from_local(found)
        attributes.size = None
        return attributes

    def _faults_for(self, path: bytes) -> Faults:
        faults = self._server.faults
        return faults if faults.only in os.fsdecode(path) else Faults()
