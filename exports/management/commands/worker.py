"""Run a worker: django-q2's cluster in a process group of its own, and the one-second ring."""

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections

from exports.ring import ring_due_connections
from exports.schedules import create_schedules

logger = logging.getLogger(__name__)

_RING_SECONDS = 1.0
_GRACE_SECONDS = 30.0


class Command(BaseCommand):
    help = "Deliver exports until told to stop by SIGTERM or SIGINT."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A signal handler must not do more: it may interrupt anything.
            signal.signal(number, lambda *_: stop.set())
        create_schedules()
        cluster = subprocess.Popen(
            [sys.executable, sys.argv[0], "qcluster"], start_new_session=True
        )
        self.stderr.write("worker: running; stop it with Ctrl-C")
        try:
            while not stop.wait(_RING_SECONDS) and cluster.poll() is None:
                self._ring()
        finally:
            exit_code = self._stop(cluster)
        if not stop.is_set():
            # Whoever supervises this process starts it again.
            sys.exit(f"worker: the task cluster ended by itself with code {exit_code}")

    def _ring(self) -> None:
        try:
            close_old_connections()
            ring_due_connections()
        except DatabaseError:
            logger.exception("worker: the database is away; trying again")

    def _stop(self, cluster: subprocess.Popen[bytes]) -> int:
        """Let running tasks end, then make sure that nothing of the group is left."""
        cluster.terminate()
        try:
            cluster.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("worker: tasks still run after %s s; killing them", _GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(cluster.pid, signal.SIGKILL)
        return cluster.wait()
