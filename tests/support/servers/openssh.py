"""A real OpenSSH server for one test's dropzone."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from .keys import new_key, public_line
from .process import HOST, bound_to_parent, free_port, kill_tree, scratch_folder, spawn

_SSHD = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
_EXTERNAL = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")

# The stand-alone SFTP server, for `sftp_subsystem` where a test must trace or replace it.
SFTP_SERVER = next((path for path in _EXTERNAL if os.access(path, os.X_OK)), None)
_STRACE = shutil.which("strace")


def available() -> bool:
    """Say whether an OpenSSH server is installed."""
    return _SSHD is not None


def breakable() -> bool:
    """Say whether `injected` is possible here."""
    return None not in (_SSHD, _STRACE, SFTP_SERVER)


@dataclass(kw_only=True)
class OpenSSHServer:
    """sshd with public-key login for the current system user only.

    The fields are options; `restart(name=value)` changes them.

    `config`: sshd_config lines; each replaces the server's own lines of the same keyword.
    `sftp_server_args`: ["-R"] is a read-only server: every change is "Permission denied", and
    posix-rename and fsync are not advertised. ["-P", "posix-rename"] neither advertises that
    extension nor serves it ("Permission denied"); plain rename still works.
    ["-P", "rename,posix-rename"] forbids both.
    `sftp_subsystem`: the command, which also gets the arguments; "/bin/echo" answers garbage,
    None leaves the subsystem out.
    `injected`: what goes wrong with the SFTP server's system calls in each session, as strace's
    option "inject" takes it: ["fsync:error=EDQUOT", "link:delay_exit=1000000"].
    """

    folder: Path = field(default_factory=lambda: scratch_folder("openssh"))
    host_keys: Sequence[str] = field(default_factory=lambda: [new_key()])
    config: Sequence[str] = ()
    sftp_server_args: Sequence[str] = ()
    sftp_subsystem: str | None = "internal-sftp"
    injected: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.host = HOST
        self.port = free_port()
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self.user_key = new_key()
        self.root = self.folder / "root"
        for name in ("exports", "acks"):
            (self.root / name).mkdir(parents=True)
        self.authorize(public_line(self.user_key))
        self._process: subprocess.Popen[bytes] | None = None

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

    @property
    def log(self) -> str:
        """What sshd has said since the last start; it names every login attempt."""
        return (self.folder / "log").read_text(errors="replace")

    def authorize(self, line: str) -> None:
        """Let the owner of one more public key log in, from the next login on."""
        with (self.folder / "authorized_keys").open("a") as authorized:
            authorized.write(f"{line}\n")

    def start(self) -> None:
        """Start sshd; raises RuntimeError with its log if it refuses the options."""
        if _SSHD is None:
            raise RuntimeError("no OpenSSH server is installed")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        replaced = {line.split()[0].lower() for line in self.config}
        own = [line for line in self._own_config() if line.split()[0].lower() not in replaced]
        # A Match block is only possible at the end.
        config.write_text("\n".join([*own, *self.config, ""]))
        self._process = spawn(
            [*bound_to_parent(), _SSHD, "-D", "-e", "-f", str(config)],
            log=self.folder / "log",
            ready="Server listening on",
        )

    def stop(self) -> None:
        """Kill sshd and its sessions."""
        if self._process is not None:
            kill_tree(self._process)
            self._process = None

    def restart(self, **options: Any) -> None:
        """Stop, change the given options and start again on the same port."""
        self.stop()
        for name, value in options.items():
            if name not in {option.name for option in fields(self)}:
                raise TypeError(f"{name} is not an option")
            setattr(self, name, value)
        self.start()

    def _own_config(self) -> list[str]:
        lines = [
            f"ListenAddress {self.host}",
            f"Port {self.port}",
            "PidFile none",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "MaxStartups 500",
            "MaxSessions 500",
            "LogLevel VERBOSE",
        ]
        if _version() >= (9, 8):
            # Tests fail to log in on purpose, all from one address.
            lines.append("PerSourcePenalties no")
        for number, key in enumerate(self.host_keys):
            path = self.folder / f"host_key_{number}"
            path.touch(mode=0o600)
            path.write_text(key)
            lines.append(f"HostKey {path}")
        if self.sftp_subsystem is not None:
            arguments = ["-d", str(self.root), *self.sftp_server_args]
            lines.append(f"Subsystem sftp {self._subsystem()} {' '.join(arguments)}")
        return lines

    def _subsystem(self) -> str | None:
        if not self.injected:
            return self.sftp_subsystem
        calls = ",".join(fault.partition(":")[0] for fault in self.injected)
        faults = " ".join(f"-e inject={fault}" for fault in self.injected)
        return f"{_STRACE} -qq -o /dev/null -e trace={calls} {faults} {SFTP_SERVER}"


def _version() -> tuple[int, int]:
    # Versions without -V answer it with a usage text that names the version as well.
    answer = subprocess.run([str(_SSHD), "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)
