"""An SFTP server on loopback that plays a company's dropzone, for the demo and the simulator."""

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import asyncssh

asyncssh.set_log_level("WARNING")

# Taken unless a port is remembered or something else listens there.
_USUAL_PORT = 22022


class SftpServer:
    """asyncssh's server in a thread of this process, while its `with` block lasts.

    `folder` keeps the keys and the port, so that the next server is the same one to its clients.
    They see `root` as `/`, with `/exports` and `/acks`, and log in with the key of `config`.
    """

    host = "127.0.0.1"
    username = "erp"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """`port`: this one and no other."""
        self._wanted_port = port
        self.root = folder / "dropzone"
        self.exports = self.root / "exports"
        self.acks = self.root / "acks"
        for path in (self.exports, self.acks):
            path.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._port_file = folder / "port"
        self._user_key = _kept_key(folder / "user_key")
        self._host_key = _kept_key(folder / "host_key")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of a connection to this server, its private key included."""
        return {
            "mode": "sftp",
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "ssh_key": self._user_key.export_private_key().decode(),
            "host_keys": [_public_line(self._host_key)],
            "export_path": "/exports",
            "ack_path": "/acks",
        }

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        self.port = started.result()
        self._port_file.write_text(f"{self.port}\n")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, started: "Future[int]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            acceptor = await self._listen()
        except Exception as e:  # noqa: BLE001  raised again by __enter__
            started.set_exception(e)
            return
        started.set_result(acceptor.get_port())
        await self._stop.wait()
        acceptor.close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        if self._wanted_port is not None:
            return await self._listen_on(self._wanted_port)
        with suppress(OSError, ValueError):
            return await self._listen_on(int(self._port_file.read_text()))
        with suppress(OSError):
            return await self._listen_on(_USUAL_PORT)
        return await self._listen_on(0)

    async def _listen_on(self, port: int) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            self.host,
            port,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(_public_line(self._user_key)),
            sftp_factory=lambda channel: asyncssh.SFTPServer(
                channel, chroot=os.fsencode(self.root)
            ),
        )


def _kept_key(path: Path) -> asyncssh.SSHKey:
    """Return the private key in a file, which is made if it is missing."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    return asyncssh.import_private_key(path.read_bytes())


def _public_line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])
