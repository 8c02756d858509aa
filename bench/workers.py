"""Real workers on the database of the bench."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from tests.support.processes import worker


@contextmanager
def working(**changes: str) -> Iterator[None]:
    """Run a worker as in production, with dropzones on loopback; `changes`: to its environment."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orderflow.settings",
        "DEBUG": "false",
        "SFTP_DENIED_NETWORKS": "169.254.0.0/16",
        # The instance that made the database of the bench: workers of another one deliver nothing.
        "DELIVERY_INSTANCE": settings.DELIVERY_INSTANCE,
        **changes,
    }
    with worker(env):
        yield
