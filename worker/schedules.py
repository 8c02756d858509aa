"""The schedules of the queue: each task runs by the clock, so a lost task is made up for.

A plain `qcluster` works by them alone.
"""

from django.db import connection, transaction
from django_q.models import Schedule

_LOCK = 4711_0815  # any number that is only used here
_SCHEDULES = (  # name, task, every so many minutes
    ("deliveries", "exports.delivery.dispatch.wake_due_connections", 1),
    ("ack polls", "exports.delivery.dispatch.wake_due_polls", 1),
    ("archive", "exports.delivery.archive.archive_pending", 1),
    ("cleanup", "worker.tasks.tidy", 1),
    ("counters", "exports.reporting.counters.count_events", 1),
    ("batches", "exports.pushing.batch_runs.wake_waiting", 1),
    ("connection tests", "worker.tasks.retest_connections", 1),
    ("retention", "worker.tasks.prune", 60),
    ("webhooks", "notifications.sending.send_due", 1),
    ("mails", "notifications.mail.send_due", 1),
    ("old notifications", "notifications.webhooks.prune", 1),
)
# Former releases have left these; their tasks have other names now.
_FORMER_NAMES = ("deliver sweep", "janitor", "tallies")


def create_schedules() -> None:
    """Create what is missing and correct what differs; may be repeated."""
    with transaction.atomic():
        # Names are not unique in django-q2's table, and workers start at the same time.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        Schedule.objects.filter(name__in=_FORMER_NAMES).delete()
        for name, func, minutes in _SCHEDULES:
            rows = Schedule.objects.filter(name=name).order_by("id")
            wanted = {
                "func": func,
                "schedule_type": Schedule.MINUTES,
                "minutes": minutes,
                "repeats": -1,
            }
            first = rows.first() or Schedule.objects.create(name=name, **wanted)
            rows.exclude(id=first.id).delete()
            rows.update(**wanted)
