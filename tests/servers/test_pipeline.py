"""Bursts of requests: their round trips, and that a burst of any length does not deadlock."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from paramiko import sftp as wire

from connectors.dropzone.connector import DropzoneJsonV1Connector, _open_folder
from connectors.dropzone.folder import NewFile
from connectors.dropzone.sftp.pipeline import Pipeline, Request
from connectors.dropzone.sftp.ssh import Connection
from tests.support.dropzones import dropzone_of


def test_a_batch_takes_three_round_trips(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts = []
    burst = Pipeline.burst

    def counted(self: Pipeline, requests: list[Request], **options: Any) -> Any:
        bursts.extend([requests] if requests else [])
        return burst(self, requests, **options)

    monkeypatch.setattr(Pipeline, "burst", counted)
    with dropzone_of("openssh", request) as dropzone:
        names = [f"{dropzone.exports}/{number}" for number in range(64)]
        with _open_folder(DropzoneJsonV1Connector().parse_config(dropzone.config)) as folder:
            created = folder.create([NewFile(f"{n}.tmp", b"x" * 50_000, unless=n) for n in names])
            assert len(bursts) == 2  # look and open; write, sync, compare and close
            renamed = folder.rename([(f"{name}.tmp", name) for name in names])
            assert len(bursts) == 3
    assert created == renamed == [None] * 64


@pytest.fixture
def strict_peer() -> Iterator[Connection]:
    """A server that takes no request before its last answer has found room on the line."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        lines = theirs.makefile("rwb", buffering=0)
        while header := lines.read(4):
            packet = theirs.recv(*struct.unpack(">I", header), socket.MSG_WAITALL)
            kind, number = struct.unpack_from(">BI", packet)
            answer = (
                struct.pack(">BI", wire.CMD_VERSION, number)
                if kind == wire.CMD_INIT
                else struct.pack(">BII8x", wire.CMD_STATUS, number, wire.SFTP_NO_SUCH_FILE)
            )
            theirs.sendall(struct.pack(">I", len(answer)) + answer)

    class Line:
        def close(self) -> None:
            ours.shutdown(socket.SHUT_RDWR)

    server = threading.Thread(target=serve)
    server.start()
    with theirs, ours:
        yield Connection(cast(Any, Line()), cast(Any, ours), "", operation_timeout=60)
        Line().close()
        server.join()


def test_a_server_that_must_be_listened_to(strict_peer: Connection) -> None:
    replies = Pipeline(strict_peer).burst([(wire.CMD_LSTAT, ("/drop/" + "x" * 200,))] * 20_000)
    assert {reply.code for reply in replies} == {wire.SFTP_NO_SUCH_FILE}
