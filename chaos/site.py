"""Where the orders go: dropzones of one mode, and what can happen to the way there."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.plan import Plan
from tests.dropzones import openssh_config
from tests.servers import OpenSSHServer, TcpProxy
from tests.servers.process import scratch_folder

_DROPZONES = 4  # while a killed worker's lease runs out on one, the others go on
_TMPFS_BYTES = 16 * 1024 * 1024
# Files of others, which must outlive the run untouched; two look much like ours.
_FOREIGN = ("readme.txt", "invoice_4711.xml", "sales_order_0000.json.deadbeef.tmp", "x.tmp")


@dataclass(kw_only=True)
class Site:
    """`configs[i]` leads to `exports[i]`, by way of the proxy if there is one."""

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
        """What lies in the folders and is neither the ERP's business nor somebody else's."""
        ours = (p for folder in self.exports for p in folder.iterdir() if p.name not in _FOREIGN)
        return [path.name for path in ours if path.suffix != ".json"]

    def fill_disk(self, chance: random.Random) -> None:
        """Leave no more than a few blocks of the small disk."""
        if self.ballast is not None:
            free = os.statvfs(self.ballast.parent)
            size = free.f_bavail * free.f_frsize - chance.choice((0, 4096, 65_536))
            # The workers write meanwhile, and may be the ones who take the last block.
            with self.ballast.open("wb") as stream, suppress(OSError):
                os.posix_fallocate(stream.fileno(), 0, max(size, 4096))

    def free_disk(self) -> None:
        if self.ballast is not None:
            self.ballast.unlink(missing_ok=True)


@contextmanager
def a_site(plan: Plan, dropzone_root: Path) -> Iterator[Site]:
    """Dropzones of the plan's mode, gone afterwards. `dropzone_root`: for mounted ones."""
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
