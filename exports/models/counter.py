"""The tables of counters: numbers of exports by what they came to, and how far counting has got."""

from datetime import timedelta

from django.db import models

from connectors.models import ErpConnection
from kernel.db import Now


class Counter(models.Model):
    """How many exports of a connection came to something. `exports.reporting.counters` counts.

    `label`: of failures the error code; of what was sent or acknowledged, the seconds that it took
    at most.
    """

    class Outcome(models.TextChoices):
        CREATED = "created"
        SENT = "sent"
        ACKED = "acked"
        FAILED = "failed"
        CANCELLED = "cancelled"
        ATTEMPT_FAILED = "attempt_failed"

    erp_connection = models.ForeignKey(
        ErpConnection, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    outcome = models.CharField(max_length=20, choices=Outcome)
    label = models.CharField(max_length=50, blank=True)
    count = models.BigIntegerField(default=0)
    took = models.DurationField(default=timedelta)

    class Meta:
        db_table = "erp_export_counter"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["erp_connection", "outcome", "label"], name="erp_export_counter_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.outcome} {self.label}: {self.count}"


class CounterProgress(models.Model):
    """The one row that says how far counting has got: up to the event with the id `position`.

    `high_watermark`: the latest event that was seen, at `high_watermark_at`. Counting may go on up
    to it once all transactions that had begun by then have ended.
    """

    position = models.BigIntegerField(default=0)
    high_watermark = models.BigIntegerField(default=0)
    high_watermark_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "erp_export_counter_progress"
        default_permissions = ()

    def __str__(self) -> str:
        return f"counted up to event {self.position}"
