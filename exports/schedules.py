"""django-q2's schedules: the net under the doorbell, for a plain qcluster too."""

from django_q.models import Schedule

_EVERY_MINUTE = (
    ("deliver sweep", "exports.tasks.ring_due_connections"),
    ("archive", "exports.tasks.archive_pending"),
    ("janitor", "exports.tasks.tidy"),
    ("connection tests", "exports.tasks.retest_connections"),
)


def create_schedules() -> None:
    """Create what is missing and correct what differs; may be repeated."""
    for name, func in _EVERY_MINUTE:
        Schedule.objects.update_or_create(
            name=name,
            defaults={"func": func, "schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": -1},
        )
