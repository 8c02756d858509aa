"""The table of exports: one push of one order, its file and its state."""

from typing import TypeAlias

from django.db import models
from django.db.models import Case, F, Q, When

from accounts.models import Org, User
from connectors.models import ErpConnection
from connectors.port import Destination
from kernel.db import Now
from kernel.models import UuidModel
from orders.models import DraftOrder


class _Status(models.TextChoices):
    PENDING = "PENDING", "pending"
    SENT = "SENT", "sent"
    ACKED = "ACKED", "acknowledged"
    FAILED = "FAILED", "failed"


class ErpExport(UuidModel):
    """One push of one order: a file name and bytes that never change, and how far they came."""

    Status: TypeAlias = _Status

    class SentEvidence(models.TextChoices):
        OBSERVED = "OBSERVED", "observed"
        INFERRED = "INFERRED", "inferred: the staged file was taken"
        CONFIRMED = "CONFIRMED", "confirmed by a person"

    LIVE = (Status.PENDING, Status.SENT, Status.ACKED)
    # Sorts the exports of one order: its latest export comes first. That is the live one, else the
    # newest. The live one can be older than a failed one: the ERP may accept an export late.
    LIVE_FIRST = (Case(When(status__in=LIVE, then=0), default=1), "-created_at", "-id")
    NEEDS_DECISION = Q(status=Status.PENDING, next_attempt_at=None)
    OVERDUE = Q(status=Status.SENT, ack_due_at__lt=F("erp_connection__last_poll_at"))

    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="erp_exports", db_index=False
    )
    erp_connection = models.ForeignKey(
        ErpConnection, on_delete=models.PROTECT, related_name="exports", db_index=False
    )
    draft_order = models.ForeignKey(DraftOrder, on_delete=models.PROTECT, related_name="exports")
    export_format_version = models.TextField(db_default="orderflow_export_json_v1")
    export_storage_key = models.TextField()
    dropzone_path = models.TextField(null=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.PENDING, db_default=Status.PENDING
    )
    erp_order_id = models.TextField("ERP order number", null=True)
    error_json = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    # Frozen at creation; retention alone clears the payload.
    filename = models.TextField()
    payload = models.BinaryField(null=True)
    payload_sha256 = models.CharField("SHA-256", max_length=64)
    payload_size = models.PositiveIntegerField()
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    # The approval of what was sent. The order can be edited later, and then loses its own.
    # Null and empty: not known, for exports from before these columns.
    approved_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    approved_hash = models.CharField(
        "SHA-256 of the approved content", max_length=64, blank=True, db_default=""
    )

    # Set once, by the claim of the staged file.
    staged_path = models.TextField(null=True)
    staged_at = models.DateTimeField(null=True)
    # Since a person began to settle it: the absence of its staged file proves nothing from then on.
    resolving_since = models.DateTimeField(null=True)
    destination = models.JSONField(null=True)

    # `next_attempt_at` is null when nothing is to be tried without a person.
    attempts = models.PositiveIntegerField(db_default=0)
    next_attempt_at = models.DateTimeField(null=True, db_default=Now())
    cleaned_up_at = models.DateTimeField(null=True)
    archived_at = models.DateTimeField(null=True)

    # When retention has forgotten what.
    payload_pruned_at = models.DateTimeField(null=True)
    archive_pruned_at = models.DateTimeField(null=True)
    events_pruned_at = models.DateTimeField(null=True)

    sent_at = models.DateTimeField(null=True)
    sent_evidence = models.CharField(max_length=10, choices=SentEvidence, blank=True)
    picked_up_at = models.DateTimeField(null=True)
    acked_at = models.DateTimeField(null=True)
    ack_due_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "erp_export"
        verbose_name = "ERP export"
        ordering = ["-created_at", "-id"]
        permissions = [
            ("cancel_erpexport", "Can cancel exports that were not sent"),
            ("resolve_erpexport", "Can say what became of exports"),
        ]
        indexes = [
            models.Index(fields=["org", "draft_order", "-created_at"], name="idx_erp_export_draft"),
            models.Index(fields=["org", "-created_at", "-id"], name="idx_erp_export_org_created"),
            models.Index(fields=["org", "updated_at", "id"], name="idx_erp_export_org_updated"),
            models.Index(
                fields=["org", "status", "-created_at", "-id"], name="idx_erp_export_org_status"
            ),
            models.Index(
                fields=["org", "erp_connection", "-created_at", "-id"],
                name="idx_erp_export_org_connection",
            ),
            models.Index(
                fields=["org", "erp_order_id"],
                condition=Q(erp_order_id__isnull=False),
                name="idx_erp_export_erp_order",
            ),
            models.Index(
                fields=["erp_connection", "next_attempt_at"],
                condition=Q(status=_Status.PENDING),
                name="idx_erp_export_due",
            ),
            models.Index(
                fields=["erp_connection", "created_at", "id"],
                condition=Q(status=_Status.PENDING),
                name="idx_erp_export_oldest",
            ),
            models.Index(fields=["filename"], name="idx_erp_export_filename"),
            models.Index(
                fields=["erp_connection", "sent_at"],
                condition=Q(status=_Status.SENT),
                name="idx_erp_export_not_acked",
            ),
            models.Index(
                fields=["org", "-created_at", "-id"],
                condition=Q(status=_Status.SENT, ack_due_at__isnull=False),
                name="idx_erp_export_awaited",
            ),
            models.Index(
                fields=["erp_connection", "ack_due_at"],
                condition=Q(status=_Status.SENT, ack_due_at__isnull=False),
                name="idx_erp_export_ack_due",
            ),
            # For those who see the exports of all orgs.
            models.Index(fields=["-created_at", "-id"], name="idx_erp_export_created"),
            # Hold all that statistics read.
            models.Index(
                fields=["erp_connection", "sent_at", "status"],
                condition=Q(sent_at__isnull=False),
                name="idx_erp_export_sent",
            ),
            models.Index(
                fields=["erp_connection", "acked_at", "sent_at"],
                condition=Q(acked_at__isnull=False),
                name="idx_erp_export_acked",
            ),
            models.Index(
                fields=["created_at"],
                condition=Q(archived_at=None),
                name="idx_erp_export_unarchived",
            ),
            models.Index(fields=["export_storage_key"], name="idx_erp_export_storage_key"),
            models.Index(
                fields=["erp_connection"],
                condition=Q(cleaned_up_at=None, attempts__gt=1)
                | Q(cleaned_up_at=None, status=_Status.FAILED),
                name="idx_erp_export_not_cleaned",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["erp_connection", "filename"], name="erp_export_filename_unique"
            ),
            models.UniqueConstraint(
                fields=["draft_order"],
                condition=Q(status__in=[_Status.PENDING, _Status.SENT, _Status.ACKED]),
                name="erp_export_one_live_per_order",
            ),
            models.CheckConstraint(
                condition=Q(status__in=list(_Status)),
                name="erp_export_status_legal",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=[_Status.SENT, _Status.ACKED])
                | Q(sent_at__isnull=False) & ~Q(sent_evidence=""),
                name="erp_export_sent_has_evidence",
            ),
            models.CheckConstraint(
                condition=Q(staged_path=None, staged_at=None, destination=None)
                | Q(staged_path__isnull=False, staged_at__isnull=False, destination__isnull=False),
                name="erp_export_staged_somewhere",
            ),
            models.CheckConstraint(
                condition=Q(payload__isnull=False)
                | Q(archived_at__isnull=False) & ~Q(status=_Status.PENDING),
                name="erp_export_payload_kept",
            ),
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def is_overdue(self) -> bool:
        """Whether the ERP should have answered: a poll since then has found nothing."""
        polled_at = self.erp_connection.last_poll_at
        return (
            self.status == self.Status.SENT
            and self.ack_due_at is not None
            and polled_at is not None
            and self.ack_due_at < polled_at
        )

    @property
    def staged_in(self) -> Destination | None:
        """Where its file was staged; None before that."""
        return None if self.destination is None else Destination.from_json(self.destination)

    @property
    def needs_decision(self) -> bool:
        """Whether it waits for a person: nothing more is tried until somebody decides."""
        return self.status == self.Status.PENDING and self.next_attempt_at is None

    @property
    def content(self) -> bytes | None:
        """The frozen document; None once retention has cleared it."""
        return None if self.payload is None else bytes(self.payload)
