"""Run a worker: django-q2's cluster in a process group of its own, and the one-second ring."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseFailure
from django.db import close_old_connections
from django_q.models import OrmQ

from exports.ring import ring_due_connections
from exports.schedules import create_schedules
from orderflow.db import db_now

logger = logging.getLogger(__name__)

_RING_SECONDS = 1.0
_GRACE_SECONDS = 30.0
_DEAF_AFTER = timedelta(minutes=3)


class Command(BaseCommand):
    help = "Deliver exports until told to stop by SIGTERM or SIGINT."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A signal handler must not do more: it may interrupt anything.
            signal.signal(number, lambda *_: stop.set())
        create_schedules()
        self._started = time.monotonic()
        cluster = subprocess.Popen(
            [sys.executable, sys.argv[0], "qcluster"], start_new_session=True
        )
        self.stderr.write("worker: running; stop it with Ctrl-C")
        try:
            while not stop.wait(_RING_SECONDS) and cluster.poll() is None and self._ring():
                pass
        finally:
            exit_code = self._stop(cluster)
        if not stop.is_set():
            # Whoever supervises this process starts it again.
            sys.exit(f"worker: the task cluster failed, code {exit_code}")

    def _ring(self) -> bool:
        """Ring what is due; False if nobody hears it any more.

        A cluster whose processes were killed at a bad moment waits for its own queue for ever.
        """
        try:
            close_old_connections()
            is_settled = time.monotonic() - self._started > _DEAF_AFTER.total_seconds()
            if is_settled and OrmQ.objects.filter(lock__lt=db_now() - _DEAF_AFTER).exists():
                logger.error("worker: tasks wait for more than %s; starting anew", _DEAF_AFTER)
                return False
            ring_due_connections()
        except DatabaseFailure:
            logger.exception("worker: the database is away; trying again")
        return True

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
