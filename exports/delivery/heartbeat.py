"""The heartbeat: each running worker says every few seconds that it is alive."""

import os
import socket
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet, Sum

from exports.models import Worker
from kernel.db import Now, db_now

BEAT_SECONDS = 5
_DEAD_AFTER = timedelta(seconds=30)
_FORGOTTEN_AFTER = timedelta(days=1)


def register() -> Worker:
    """Enter a worker for this process, and forget those that ended long ago without a word."""
    Worker.objects.filter(beat_at__lt=db_now() - _FORGOTTEN_AFTER).delete()
    return Worker.objects.create(
        host=socket.gethostname(), pid=os.getpid(), processes=settings.Q_CLUSTER["workers"]
    )


def beat(worker: Worker) -> None:
    """Note that the worker is alive."""
    if not Worker.objects.filter(id=worker.id).update(beat_at=Now()):
        worker.save(force_insert=True)


def alive(now: datetime | None = None) -> QuerySet[Worker]:
    """The workers that were heard of lately. `now`: the database's time, if it is known."""
    return Worker.objects.filter(beat_at__gt=(now or db_now()) - _DEAD_AFTER)


def count_processes() -> int:
    """How many tasks run at once, on all machines; as configured if no worker has said so."""
    counted: int | None = alive().aggregate(count=Sum("processes"))["count"]
    return counted or int(settings.Q_CLUSTER["workers"])
