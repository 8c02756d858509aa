"""django-q2's schedules: the net under the doorbell, for a plain qcluster too."""

from django.db import connection, transaction
from django_q.models import Schedule

_LOCK = 4711_0815  # any number that is only used here
_EVERY_MINUTE = (
    ("deliver sweep", "exports.tasks.ring_due_connections"),
    ("ack polls", "exports.tasks.ring_due_polls"),
    ("archive", "exports.tasks.archive_pending"),
    ("janitor", "exports.tasks.tidy"),
    ("tallies", "exports.tasks.count_events"),
    ("batches", "exports.tasks.ring_waiting_batches"),
    ("connection tests", "exports.tasks.retest_connections"),
)


def create_schedules() -> None:
    """Create what is missing and correct what differs; may be repeated."""
    with transaction.atomic():
        # Names are not unique in django-q2's table, and workers start at the same time.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        for name, func in _EVERY_MINUTE:
            rows = Schedule.objects.filter(name=name).order_by("id")
            wanted = {"func": func, "schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": -1}
            first = rows.first() or Schedule.objects.create(name=name, **wanted)
            rows.exclude(id=first.id).delete()
            rows.update(**wanted)
