"""Real workers on the database of the bench."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.processes import worker


@contextmanager
def working(**changes: str) -> Iterator[None]:
    """Let a worker run, as in production but for dropzones on loopback; `changes`: environment."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orderflow.settings",
        "DEBUG": "false",
        "SFTP_DENIED_NETWORKS": "169.254.0.0/16",
        **changes,
    }
    with worker(env):
        yield
