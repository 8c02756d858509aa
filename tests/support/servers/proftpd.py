"""A real ProFTPD with mod_sftp for one test's dropzone: it says no in other words than OpenSSH."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .keys import new_key, public_line
from .process import HOST, bound_to_parent, free_port, kill_tree, scratch_folder, spawn

_PATH = f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}"
_PROFTPD = shutil.which("proftpd", path=_PATH)
_FTPASSWD = shutil.which("ftpasswd", path=_PATH)
_MODULES = next((path for path in Path("/usr").glob("lib*/proftpd") if path.is_dir()), None)


def available() -> bool:
    """Say whether ProFTPD is installed, with its SFTP module, and may be started."""
    return (
        None not in (_PROFTPD, _FTPASSWD, _MODULES)
        and (_MODULES or Path()).joinpath("mod_sftp.so").exists()
        and os.geteuid() == 0
    )


@dataclass(kw_only=True)
class ProFTPDServer:
    """ProFTPD with login by password; paths are those of this machine.

    `config`: more lines of its configuration, like "MaxClientsPerUser 1".
    """

    config: Sequence[str] = ()
    username: str = "erp"
    folder: Path = field(default_factory=lambda: scratch_folder("proftpd"))

    def __post_init__(self) -> None:
        self.host = HOST
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.root = self.folder / "root"
        for name in ("exports", "acks"):
            (self.root / name).mkdir(parents=True)
        key = new_key("rsa")
        self.host_key = public_line(key)
        self._host_key_file = self.folder / "host_key"
        self._host_key_file.touch(mode=0o600)
        self._host_key_file.write_text(key)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._add_user()
        config = self.folder / "proftpd.conf"
        config.write_text("\n".join([*self._own_config(), *self.config, ""]))
        self._process = spawn(
            [*bound_to_parent(), str(_PROFTPD), "--nodaemon", "--config", str(config)],
            log=self.folder / "log",
            ready="STARTUP",
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            kill_tree(self._process)
        shutil.rmtree(self.folder)

    @property
    def log(self) -> str:
        """What the server has said; it names every login attempt."""
        return (self.folder / "log").read_text(errors="replace")

    def _add_user(self) -> None:
        subprocess.run(
            [
                *(str(_FTPASSWD), "--passwd", "--stdin", "--file", str(self.folder / "users")),
                *("--name", self.username, "--home", str(self.root), "--shell", "/bin/sh"),
                *("--uid", str(os.getuid()), "--gid", str(os.getgid())),
            ],
            input=f"{self.password}\n",
            text=True,
            capture_output=True,
            check=True,
        )

    def _own_config(self) -> list[str]:
        return [
            f"ModulePath {_MODULES}",
            "LoadModule mod_sftp.c",
            "ServerName test",
            "ServerType standalone",
            f"DefaultAddress {self.host}",
            f"Port {self.port}",
            "SocketBindTight on",
            "UseIPv6 off",
            "UseReverseDNS off",
            "WtmpLog off",
            "User root",
            "Group root",
            "RootLogin on",
            f"PidFile {self.folder / 'pid'}",
            f"ScoreboardFile {self.folder / 'scoreboard'}",
            "DelayEngine off",
            "RequireValidShell off",
            "AuthOrder mod_auth_file.c",
            f"AuthUserFile {self.folder / 'users'}",
            "AllowOverwrite on",
            "TransferLog none",
            "SFTPEngine on",
            f"SFTPHostKey {self._host_key_file}",
            "SFTPAuthMethods password",
        ]
