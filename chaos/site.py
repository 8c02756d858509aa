"""The site of a run: the dropzones of one mode, their server, and the proxy before it."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.plan import Plan
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer, TcpProxy
from tests.support.servers.process import scratch_folder

_DROPZONES = 4  # while the lease of a killed worker blocks one, workers use the others
_TMPFS_BYTES = 16 * 1024 * 1024
# Files of other programs. The run must not change them; two of the names resemble ours.
_FOREIGN = ("readme.txt", "invoice_4711.xml", "sales_order_0000.json.deadbeef.tmp", "x.tmp")


@dataclass(kw_only=True)
class Site:
    """`configs[i]` is the connection config of folder `exports[i]`, through the proxy if any."""

    configs: list[dict[str, Any]] = field(default_factory=list)
    exports: list[Path] = field(default_factory=list)
    server: OpenSSHServer | None = None
    proxy: TcpProxy | None = None
    ballast: Path | None = None

    def foreign_files(self) -> Iterator[tuple[Path, bytes]]:
        for folder in self.exports:
            for name in _FOREIGN:
                yield folder / name, f"{folder.parent.name}: not ours: {name}".encode()

    def staging_files(self) -> list[str]:
        """The files in the folders that are neither orders for the ERP nor foreign files."""
        ours = (p for folder in self.exports for p in folder.iterdir() if p.name not in _FOREIGN)
        return [path.name for path in ours if path.suffix != ".json"]

    def fill_disk(self, chance: random.Random) -> None:
        """Fill the small disk up to a few blocks."""
        if self.ballast is not None:
            free = os.statvfs(self.ballast.parent)
            size = free.f_bavail * free.f_frsize - chance.choice((0, 4096, 65_536))
            # A worker may take the last block meanwhile; then this write fails.
            with self.ballast.open("wb") as stream, suppress(OSError):
                os.posix_fallocate(stream.fileno(), 0, max(size, 4096))

    def free_disk(self) -> None:
        if self.ballast is not None:
            self.ballast.unlink(missing_ok=True)


@contextmanager
def a_site(plan: Plan, dropzone_root: Path) -> Iterator[Site]:
    """Make dropzones of the plan's mode and remove them afterwards.

    `dropzone_root`: the folder for mounted ones.
    """
    site = Site()
    with ExitStack() as stack:
        base = scratch_folder("site") if plan.mode != "filesystem" else dropzone_root / plan.mode
        base.mkdir(exist_ok=True)
        if plan.is_disk_filled:
            stack.enter_context(_tmpfs(base))
            site.ballast = base / "ballast"
        config: dict[str, Any] = {"mode": "filesystem"}
        root = base
        if plan.mode != "filesystem":
            arguments = ["-P", "posix-rename"] if plan.mode == "plain" else []
            site.server = stack.enter_context(
                OpenSSHServer(folder=_made(base / "sshd"), sftp_server_args=arguments)
            )
            site.proxy = stack.enter_context(TcpProxy(site.server.host, site.server.port))
            root = site.server.root
            way = {"host": site.proxy.host, "port": site.proxy.port}
            timeouts = {"connect_timeout": 2, "operation_timeout": 1}
            config = openssh_config(site.server, **way, **timeouts)
        for number in range(_DROPZONES):
            folder = root / f"dropzone-{number}"
            _made(folder / "taken")
            site.exports.append(_made(folder / "exports"))
            site.configs.append({**config, "export_path": str(folder / "exports")})
        for path, content in site.foreign_files():
            path.write_bytes(content)
        yield site


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _tmpfs(folder: Path) -> Iterator[None]:
    options = f"size={_TMPFS_BYTES},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaos", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
