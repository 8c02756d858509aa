"""The folder engine, and other tools that put small files on an SFTP server.

Each writes to a temporary name and renames, so that no reader sees half a file. (rclone does so
since 1.63; older versions write in place, which is less work.) Only the engine and `sftp put -f`
also sync.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.files import File
from storages.backends.sftpstorage import SFTPStorage

from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.port import Delivery, Evidence
from exports.delivery.protocol import BATCH_FILES


class Contender:
    name: str
    program: str | None = None

    def __init__(self, config: Mapping[str, Any], scratch: Path) -> None:
        """`config`: of a connection with a key; `scratch`: an empty folder."""
        self._config = config
        self._target = config["export_path"]
        self._key = scratch / "key"
        self._key.touch(mode=0o600)
        self._key.write_text(config["ssh_key"])
        self._known_hosts = scratch / "known_hosts"
        self._known_hosts.write_text(
            "".join(f"[{config['host']}]:{config['port']} {key}\n" for key in config["host_keys"])
        )

    @classmethod
    def is_installed(cls) -> bool:
        return cls.program is None or shutil.which(cls.program) is not None

    def log_in(self) -> None:
        """Do the login that every send() includes."""
        raise NotImplementedError

    def send(self, files: Sequence[Path]) -> None:
        """Put copies into the export folder."""
        raise NotImplementedError

    def _ssh_options(self) -> list[str]:
        return [
            *("-F", "none", "-i", str(self._key)),
            *("-o", "IdentitiesOnly=yes", "-o", "GlobalKnownHostsFile=none"),
            *("-o", f"UserKnownHostsFile={self._known_hosts}"),
        ]


class Engine(Contender):
    """The engine of the service. Its session stays open, as in a worker."""

    name = "engine"
    _connector = DropzoneJsonV1Connector()

    def log_in(self) -> None:
        with self._connector.open(self._connector.parse_config(self._config)):
            pass

    def send(self, files: Sequence[Path]) -> None:
        with self._connector.open(self._connector.parse_config(self._config)) as session:
            for first in range(0, len(files), BATCH_FILES):
                batch = [
                    Delivery(
                        filename=file.name,
                        content=file.read_bytes(),
                        staged_path=session.staging_path(file.name, "bench"),
                    )
                    for file in files[first : first + BATCH_FILES]
                ]
                assert not any(session.stage(batch))
                assert set(session.publish(batch, is_resumed=False)) == {Evidence.OBSERVED}


class Sftp(Contender):
    name = "OpenSSH sftp -b"
    program = "sftp"
    _put = "put"

    def log_in(self) -> None:
        self._run("pwd\n")

    def send(self, files: Sequence[Path]) -> None:
        self._run(
            f"cd {self._target}\n"
            + "".join(
                f"{self._put} {file} {file.name}.tmp\nrename {file.name}.tmp {file.name}\n"
                for file in files
            )
        )

    def _run(self, batch: str) -> None:
        where = f"{self._config['username']}@{self._config['host']}"
        port = str(self._config["port"])
        command = ["sftp", "-q", *self._ssh_options(), "-P", port, "-b", "-", where]
        subprocess.run(command, input=batch, text=True, check=True, capture_output=True)


class SyncingSftp(Sftp):
    name = "OpenSSH sftp -b, put -f"
    _put = "put -f"


class Lftp(Contender):
    name = "lftp mput -P 8"
    program = "lftp"

    def log_in(self) -> None:
        self._run(f"cls -d {self._target}")

    def send(self, files: Sequence[Path]) -> None:
        names = " ".join(file.name for file in files)
        self._run(f"lcd {files[0].parent}; cd {self._target}; mput -P 8 {names}")

    def _run(self, commands: str) -> None:
        ssh = " ".join(["ssh", "-a", "-x", *self._ssh_options()])
        script = (
            f"set sftp:connect-program '{ssh}'; set cmd:fail-exit yes;"
            "set xfer:use-temp-file yes; set xfer:temp-file-name *.tmp;"
            f"open -u {self._config['username']},none -p {self._config['port']}"
            f" sftp://{self._config['host']}; {commands}"
        )
        subprocess.run(["lftp", "--norc", "-c", script], check=True, capture_output=True)


class Rclone(Contender):
    name = "rclone --transfers 8"
    program = "rclone"

    def log_in(self) -> None:
        self._run("lsf")

    def send(self, files: Sequence[Path]) -> None:
        listed = self._key.with_name("files")
        listed.write_text("".join(f"{file.name}\n" for file in files))
        # Without its hash checks, which need a login shell each, and without setting file times.
        self._run(
            *("copy", "--files-from-raw", str(listed), "--no-traverse", "--ignore-times"),
            *("--sftp-set-modtime=false", str(files[0].parent)),
        )

    def _run(self, *command: str) -> None:
        access = {
            "host": self._config["host"],
            "port": self._config["port"],
            "user": self._config["username"],
            "key-file": self._key,
            "known-hosts-file": self._known_hosts,
        }
        options = [f"--sftp-{name}={value}" for name, value in access.items()]
        subprocess.run(
            [
                *("rclone", "--config=", "--transfers=8", "--sftp-disable-hashcheck", *options),
                *(*command, f":sftp:{self._target}"),
            ],
            check=True,
            capture_output=True,
        )


class DjangoStorages(Contender):
    name = "django-storages SFTPStorage"

    def __init__(self, config: Mapping[str, Any], scratch: Path) -> None:
        super().__init__(config, scratch)
        self._storage = SFTPStorage(
            host=config["host"],
            root_path=self._target,
            known_host_file=str(self._known_hosts),
            params={
                "port": config["port"],
                "username": config["username"],
                "key_filename": str(self._key),
                "allow_agent": False,
                "look_for_keys": False,
            },
        )

    def log_in(self) -> None:
        assert self._storage.sftp

    def send(self, files: Sequence[Path]) -> None:
        for file in files:
            with file.open("rb") as content:
                name = self._storage.save(f"{file.name}.tmp", File(content))
            self._storage.sftp.rename(f"{self._target}/{name}", f"{self._target}/{file.name}")


RIVALS = (Sftp, SyncingSftp, Lftp, Rclone, DjangoStorages)
