"""Dropzones for tests: one folder, reached through each kind of connection."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import AsyncSSHServer, OpenSSHServer, ProFTPDServer

KINDS = ("filesystem", "openssh", "openssh_plain_rename", "asyncssh")


@dataclass(frozen=True, kw_only=True)
class Dropzone:
    """`config` is a connection's; `exports` and `acks` are the same folders on this machine."""

    config: dict[str, Any]
    exports: Path
    acks: Path

    def files(self) -> dict[str, bytes]:
        """What the ERP sees: the export files, by name."""
        return {p.name: p.read_bytes() for p in self.exports.iterdir() if p.suffix == ".json"}

    def leftovers(self) -> list[str]:
        """The staging files that lie in the export folder."""
        return [p.name for p in self.exports.iterdir() if p.suffix != ".json"]


def openssh_config(server: OpenSSHServer, **changes: Any) -> dict[str, Any]:
    """The configuration of a connection to this server."""
    return {
        "mode": "sftp",
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "ssh_key": server.user_key,
        "host_keys": [server.host_key],
        "export_path": str(server.root / "exports"),
        **changes,
    }


def proftpd_config(server: ProFTPDServer, **changes: Any) -> dict[str, Any]:
    """The configuration of a connection to this server, by password."""
    return {
        "mode": "sftp",
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "host_keys": [server.host_key],
        "export_path": str(server.root / "exports"),
        **changes,
    }


def asyncssh_config(server: AsyncSSHServer, **changes: Any) -> dict[str, Any]:
    """The configuration of a connection to this server, by password."""
    return {
        "mode": "sftp",
        "host": server.host,
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "host_keys": [server.host_key],
        "export_path": "/exports",
        **changes,
    }


def _below(root: Path, seen_as: str, config: dict[str, Any]) -> Dropzone:
    """New folders for one test, below a server's root."""
    name = uuid.uuid4().hex[:12]
    exports, acks = root / name / "exports", root / name / "acks"
    for folder in (exports, acks):
        folder.mkdir(parents=True)
    paths = {"export_path": f"{seen_as}/{name}/exports", "ack_path": f"{seen_as}/{name}/acks"}
    return Dropzone(config={**config, **paths}, exports=exports, acks=acks)


@contextmanager
def dropzone_of(kind: str, request: pytest.FixtureRequest) -> Iterator[Dropzone]:
    """A fresh dropzone of one of KINDS."""
    if kind == "filesystem":
        root: Path = request.getfixturevalue("dropzone_root")
        yield _below(root, str(root), {"mode": "filesystem"})
    elif kind == "openssh":
        server = request.getfixturevalue("openssh")
        yield _below(server.root, str(server.root), openssh_config(server))
    elif kind == "openssh_plain_rename":
        request.getfixturevalue("openssh")
        plain = request.getfixturevalue("_openssh_plain_rename")
        yield _below(plain.root, str(plain.root), openssh_config(plain))
    else:
        other = request.getfixturevalue("asyncssh_server")
        yield _below(other.root, "", asyncssh_config(other))
