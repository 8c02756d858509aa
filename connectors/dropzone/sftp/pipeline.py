"""SFTP requests on a channel: many are in flight at once, each gets its own reply."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from paramiko import sftp as wire
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

from connectors.dropzone.folder import FileError, Reason
from connectors.dropzone.sftp.ssh import Connection
from connectors.errors import ConnectorError

CHUNK = 32 * 1024  # what every server takes in one write or gives in one read
_VERSION = 3
# A burst is sent in blocks of a full SSH packet each: the server begins while the rest is put
# together. A server to which nobody listens stops listening: so many answers may be outstanding.
_BLOCK = 32 * 1024 - 64
_IN_FLIGHT = 1000
_LARGEST_PACKET = 1024 * 1024
_SLOWEST = 64 * 1024  # bytes a second below which a transfer counts as stalled

_REASONS = {
    wire.SFTP_NO_SUCH_FILE: Reason.MISSING,
    wire.SFTP_PERMISSION_DENIED: Reason.DENIED,
    wire.SFTP_OP_UNSUPPORTED: Reason.UNSUPPORTED,
}

Request = tuple[int, tuple[Any, ...]]


@dataclass(slots=True)
class Reply:
    """A server's answer to one request; a status has a code and a text."""

    kind: int
    body: Message
    code: int | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind == wire.CMD_STATUS:
            self.code = self.body.get_int()
            # Some servers speak their own language in their own encoding.
            self.text = self.body.get_binary().decode("utf-8", "replace")

    @property
    def is_end(self) -> bool:
        """Whether there is nothing more to read."""
        return self.code == wire.SFTP_EOF

    def failure(self, path: str) -> FileError | None:
        """The error that the answer is, if it is one."""
        if self.code is None or self.code == wire.SFTP_OK:
            return None
        reason = _REASONS.get(self.code, Reason.FAILURE)
        return FileError(reason, path, f"status {self.code} {self.text!r}")

    def unexpected(self, path: str) -> FileError:
        """The error that the answer is, where something else was asked for."""
        return self.failure(path) or FileError(Reason.FAILURE, path, f"answer of type {self.kind}")


class Pipeline:
    """Sends requests in bursts.

    paramiko's own pipelining drops the answers to writes, so a full disk looks like a success.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.channel
        self._received = bytearray()
        self._next_id = 0
        with self._guarded(connection.operation_timeout):
            self.extensions = self._handshake()
        connection.is_in_use = True

    def burst(
        self, requests: Sequence[Request], *, size: int = 0, timeout: float | None = None
    ) -> list[Reply]:
        """Send all requests, then read the answer to each; one round trip.

        `size`: bytes that travel, for the deadline; `timeout`: seconds, if not the configured
        ones. Raises ConnectorError if the connection fails.
        """
        if not requests:
            return []
        first = self._next_id
        self._next_id += len(requests)
        with self._guarded((timeout or self._connection.operation_timeout) + size / _SLOWEST):
            replies: dict[int, Reply] = {}
            packets = bytearray()
            for number, request in enumerate(requests, first):
                packets += _packet(number, *request)
                while len(packets) >= _BLOCK:
                    self._channel.sendall(packets[:_BLOCK])
                    del packets[:_BLOCK]
                    while number - first - len(replies) >= _IN_FLIGHT:
                        self._receive(first, replies)
            self._channel.sendall(packets)
            while len(replies) < len(requests):
                self._receive(first, replies)
        return [replies[first + i] for i in range(len(requests))]

    def _receive(self, first: int, replies: dict[int, Reply]) -> None:
        """Read an answer to one of the requests from `first` on."""
        kind, body = self._read_packet()
        number = body.get_int()
        if not first <= number < self._next_id or number in replies:
            raise wire.SFTPError(f"answer to request {number}, which was not asked")
        replies[number] = Reply(kind, body)

    def _handshake(self) -> frozenset[str]:
        self._channel.sendall(struct.pack(">IBI", 5, wire.CMD_INIT, _VERSION))
        kind, body = self._read_packet()
        if kind != wire.CMD_VERSION:
            raise wire.SFTPError("no SFTP version in the first packet")
        body.get_int()
        names = set()
        while body.get_remainder():
            names.add(body.get_text())
            body.get_binary()
        return frozenset(names)

    def _read_packet(self) -> tuple[int, Message]:
        (size,) = struct.unpack(">I", self._read(4))
        if not 0 < size <= _LARGEST_PACKET:
            raise wire.SFTPError(f"packet of {size} bytes")
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
            raise self._connection.lost(e) from e
        except (wire.SFTPError, struct.error, UnicodeDecodeError) as e:
            self._connection.close()
            raise ConnectorError("SERVER_PROTOCOL_ERROR", detail=repr(e)) from e


def _packet(number: int, command: int, arguments: tuple[Any, ...]) -> bytes:
    parts = [struct.pack(">BI", command, number)]
    for argument in arguments:
        if isinstance(argument, wire.int64):
            parts.append(struct.pack(">Q", argument))
        elif isinstance(argument, int):
            parts.append(struct.pack(">I", argument))
        else:
            is_text = isinstance(argument, str)
            data = argument.encode("utf-8", "surrogateescape") if is_text else argument
            parts += (struct.pack(">I", len(data)), data)
    return struct.pack(">I", sum(map(len, parts))) + b"".join(parts)
