"""PgBouncer in front of a PostgreSQL server, in transaction mode: a session is nothing there."""

import os
import shutil
import subprocess
from typing import Self
from urllib.parse import urlsplit

from tests.support.servers.postgres import system_user
from tests.support.servers.process import (
    HOST,
    bound_to_parent,
    free_port,
    kill_tree,
    scratch_folder,
    spawn,
)

# Debian has it where only root looks for programs.
_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
_CONFIG = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = {listen}
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 2
"""


class PgBouncer:
    """Takes the place of the server in `url`, for the user of `url` alone."""

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        assert server.hostname and server.port
        self.port = free_port()
        self.url = url.replace(f":{server.port}/", f":{self.port}/")
        self._folder = scratch_folder("pgbouncer")
        config = _CONFIG.format(
            host=server.hostname,
            port=server.port,
            listen=HOST,
            own_port=self.port,
            folder=self._folder,
        )
        (self._folder / "config").write_text(config)
        (self._folder / "users").write_text(f'"{server.username}" "{server.password}"\n')

    def __enter__(self) -> Self:
        # Like PostgreSQL it refuses to run as root.
        user = system_user()
        if user:
            for path in (self._folder, *self._folder.iterdir()):
                shutil.chown(path, user.pw_uid)
        self._process: subprocess.Popen[bytes] = spawn(
            [*bound_to_parent(user=user), str(_PROGRAM), str(self._folder / "config")],
            log=self._folder.parent / f"{self._folder.name}.log",
            ready="process up",
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        kill_tree(self._process)
        shutil.rmtree(self._folder)


def available() -> bool:
    """Say whether PgBouncer is installed."""
    return _PROGRAM is not None
