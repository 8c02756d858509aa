"""The task cluster, a child of the supervisor: it ends with its parent, and when it is stuck."""

import logging
import os
import signal
import threading
import time
import uuid
from contextlib import suppress
from multiprocessing import Event, Value
from queue import Full
from typing import Any

from django_q.cluster import Sentinel

logger = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
_CANARY_SECONDS = 10.0
_IDLE_SECONDS = 5
_IDLE = -1  # the timer of a process without a task

# Made before any fork, so that all processes of a cluster share it.
_answered_at = Value("d", 0.0, lock=False)


def run(parent: int) -> None:
    """Run tasks until the other end of the pipe `parent` is closed, then end within the grace.

    Leads a process group of its own, of which nothing is left afterwards. No signal handler takes
    part: django-q2's own waits for other processes in it, which hangs at a bad moment.
    """
    stop = Event()
    sentinel = _Sentinel(stop, Event(), uuid.uuid4(), start=False)
    threading.Thread(target=_stop_with, args=(parent, stop), daemon=True).start()
    sentinel.start()


def answer() -> None:
    """The canary's task: whoever does it is not stuck."""
    _answered_at.value = time.monotonic()


def _stop_with(parent: int, stop: Any) -> None:
    # Nothing is ever written: the read ends when the parent does, killed or not.
    os.read(parent, 1)
    stop.set()
    time.sleep(GRACE_SECONDS)
    logger.warning("worker: tasks still run after %s s; killing them", GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


class _Sentinel(Sentinel):  # type: ignore[misc]
    def guard(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()
        super().guard()

    def _watch(self) -> None:
        """Send canaries through the queue of this cluster's processes.

        A process that was killed while it held the queue's lock leaves the others waiting for
        ever, and the cluster believes that it works.
        """
        while not self.stop_event.wait(_CANARY_SECONDS):
            sent_at = time.monotonic()
            with suppress(Full, ValueError):  # as many tasks wait already, or it is being closed
                self.task_queue.put(_canary(), timeout=_CANARY_SECONDS)
            self.stop_event.wait(_CANARY_SECONDS)
            if _answered_at.value < sent_at and self._has_idle_process():
                logger.error("worker: tasks wait, but an idle process takes none; ending")
                os.killpg(0, signal.SIGKILL)

    def _has_idle_process(self) -> bool:
        """Whether a process did nothing whenever it was looked at, for some seconds."""
        idle = set(self.pool)
        for _ in range(_IDLE_SECONDS):
            self.stop_event.wait(1)
            idle = {process for process in idle if process.timer.value == _IDLE}
        return bool(idle) and not self.stop_event.is_set()


def _canary() -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "name": "canary",
        "func": "worker.cluster.answer",
        "args": (),
        "kwargs": {},
        "save": False,
    }
