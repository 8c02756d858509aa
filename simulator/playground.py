"""The folders in which the simulator's commands run, only in development."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.management.base import CommandError

if TYPE_CHECKING:
    from simulator.sftp_server import SftpServer

CONNECTOR = "DROPZONE_JSON_V1"


@contextmanager
def playground(folder: Path) -> Iterator[None]:
    """Make the folder and hold it: two commands would take files and ports from each other.

    Raises CommandError in production, and while another command holds the folder.
    """
    if not settings.DEBUG:
        raise CommandError("This is for development. Set DEBUG=true in the environment.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise CommandError(f"{folder} is in use: a demo or simulator is running there.") from e
        yield


def sftp_server(folder: Path, port: int | None = None) -> "SftpServer":
    """The SFTP server of a folder. Raises CommandError if its package is missing."""
    try:
        from simulator.sftp_server import SftpServer
    except ImportError as e:
        raise CommandError(f"{e}. Install the packages of requirements-dev.txt.") from e
    return SftpServer(folder, port)
