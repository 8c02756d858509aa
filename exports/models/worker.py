"""The table of running workers."""

import uuid

from django.db import models

from kernel.db import Now


class Worker(models.Model):
    """A running `manage.py worker`, for as long as `beat_at` is fresh."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.TextField()
    pid = models.PositiveIntegerField()
    processes = models.PositiveIntegerField(help_text="How many tasks it runs at once.")
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "worker"

    def __str__(self) -> str:
        return f"{self.host} ({self.pid})"
