"""Real workers on the database of the bench."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from tests.support.processes import worker


@contextmanager
def working(**changes: str) -> Iterator[None]:
    """Let a worker run, as in production but for dropzones on loopback; `changes`: environment."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orderflow.settings",
        "DEBUG": "false",
        "SFTP_DENIED_NETWORKS": "169.254.0.0/16",
        # It belongs to the bench, which has made it.
        "DELIVERY_INSTANCE": settings.DELIVERY_INSTANCE,
        **changes,
    }
    with worker(env):
        yield
