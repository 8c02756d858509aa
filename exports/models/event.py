"""The history of exports: the table of their events."""

from typing import TypeAlias

from django.db import models
from django.db.models import Q

from accounts.models import User
from exports.models.export import ErpExport
from kernel.db import Now


class _Kind(models.TextChoices):
    CREATED = "CREATED", "created"
    STAGING = "STAGING", "staging"
    STAGED = "STAGED", "staged"
    RESUMED = "RESUMED", "resumed"
    REQUESTED = "REQUESTED", "delivery requested"
    ATTEMPT_FAILED = "ATTEMPT_FAILED", "attempt failed"
    SENT = "SENT", "sent"
    PICKED_UP = "PICKED_UP", "picked up"
    ACKED = "ACKED", "acknowledged"
    REFUSED = "REFUSED", "refused by the ERP"
    CONTRADICTED = "CONTRADICTED", "contradicted by another ack"
    FAILED = "FAILED", "failed"
    RESOLVING = "RESOLVING", "being resolved manually"
    RESOLVED = "RESOLVED", "resolved manually"
    CANCELLED = "CANCELLED", "cancelled"
    CLEANED_UP = "CLEANED_UP", "staging files removed"


# What makes an export fail, other than that a person cancels it.
_FAILURE = Q(kind__in=[_Kind.FAILED, _Kind.REFUSED, _Kind.RESOLVED], status=ErpExport.Status.FAILED)


class ErpExportEvent(models.Model):
    """Something that happened to an export. Events are only ever added.

    `status` is the export's afterwards, so that replaying the events gives its present state.
    No actor: the system.
    """

    Kind: TypeAlias = _Kind
    FAILURE = _FAILURE

    export = models.ForeignKey(ErpExport, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    status = models.CharField(max_length=20, choices=ErpExport.Status)
    at = models.DateTimeField(db_default=Now())
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    detail = models.JSONField(db_default={}, default=dict)

    class Meta:
        db_table = "erp_export_event"
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["at"],
                condition=_FAILURE,
                name="idx_erp_export_event_failure",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} at {self.at:%Y-%m-%d %H:%M:%S}"
