"""The supervisor of a worker: runs the task cluster, and wakes what is due each second."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import close_old_connections
from django_q.models import OrmQ

from connectors import ownership
from exports import connection_tests
from exports.delivery import heartbeat
from exports.delivery.dispatch import wake_due_connections, wake_due_polls
from exports.models import Worker
from exports.pushing import batch_runs
from kernel.db import db_now
from notifications import sending
from worker import cluster
from worker.schedules import create_schedules

logger = logging.getLogger(__name__)

_WAKE_SECONDS = 1.0
_LAST_WEBHOOKS_SECONDS = 20.0
_DEAF_AFTER = timedelta(minutes=3)


class Supervisor:
    """Runs a task cluster as its child, and once a second wakes what is due."""

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Ends the process with a message if the cluster fails."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A signal handler must not do more: it may interrupt anything.
            signal.signal(number, lambda *_: stop.set())
        create_schedules()
        self._worker = heartbeat.register()
        self._started = self._beaten = time.monotonic()
        self._denial_reason = ""
        self._look_whose_it_is()
        theirs, ours = os.pipe()
        tasks = subprocess.Popen(
            [sys.executable, sys.argv[0], "worker", "--tasks", str(theirs)],
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        webhooks = threading.Thread(target=_send_webhooks, args=(stop,), daemon=True)
        webhooks.start()
        logger.info("worker: running; stop it with Ctrl-C")
        try:
            while not stop.wait(_WAKE_SECONDS) and tasks.poll() is None and self._look_after():
                pass
        finally:
            exit_code = _stop(tasks, ours)
            webhooks.join(_LAST_WEBHOOKS_SECONDS if stop.is_set() else 0)
            with suppress(DatabaseFailure):
                Worker.objects.filter(id=self._worker.id).delete()
        if not stop.is_set():
            # The supervisor of this process starts it again.
            sys.exit(f"worker: the task cluster failed, code {exit_code}")

    def _look_after(self) -> bool:
        """Say that this worker is alive and enqueue what is due; False if the database is away."""
        try:
            close_old_connections()
            now = time.monotonic()
            if now - self._beaten > heartbeat.BEAT_SECONDS:
                heartbeat.beat(self._worker)
                self._beaten = now
                self._look_whose_it_is()
            if now - self._started > _DEAF_AFTER.total_seconds() and _is_deaf():
                logger.error("worker: no task was taken for %s; starting anew", _DEAF_AFTER)
                return False
            wake_due_connections()
            wake_due_polls()
            connection_tests.wake_waiting()
            batch_runs.wake_waiting()
        except DatabaseFailure:
            logger.exception("worker: the database is away; trying again")
        return True

    def _look_whose_it_is(self) -> None:
        """Log when deliveries are barred because of whose database this is, and when no longer."""
        before, self._denial_reason = self._denial_reason, ownership.denial_reason()
        if self._denial_reason != before:
            logger.warning("worker: %s", self._denial_reason or "delivering from this database now")


def _send_webhooks(stop: threading.Event) -> None:
    """Beside the task queue, so that no delivery waits for a receiver that does not answer."""
    while not stop.wait(_WAKE_SECONDS):
        try:
            close_old_connections()
            while not stop.is_set() and sending.send_due():
                pass
        except DatabaseFailure:
            logger.exception("worker: webhooks wait for the database")
        except Exception:
            # A defect of ours, which must not end them for good.
            logger.exception("worker: webhooks failed")


def _is_deaf() -> bool:
    """Whether tasks wait while no cluster takes any. Taking one locks it for `retry` seconds."""
    long_ago = db_now() - _DEAF_AFTER
    taken = OrmQ.objects.filter(lock__gt=long_ago + timedelta(seconds=settings.Q_CLUSTER["retry"]))
    return OrmQ.objects.filter(lock__lt=long_ago).exists() and not taken.exists()


def _stop(tasks: subprocess.Popen[bytes], pipe: int) -> int:
    """Let running tasks end, then make sure that nothing of the group is left."""
    os.close(pipe)
    with suppress(subprocess.TimeoutExpired):
        tasks.wait(cluster.GRACE_SECONDS + 5)
    with suppress(ProcessLookupError):
        os.killpg(tasks.pid, signal.SIGKILL)
    return tasks.wait()
