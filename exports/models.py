"""The ledger: each push of an order, what happened to it and what the ERP answered; batches."""

import uuid
from datetime import timedelta

from django.db import models
from django.db.models import F, Q

from accounts.models import Org, User
from connectors.models import ErpConnection
from connectors.port import Ack, Destination
from kernel.db import Now, RandomUUID
from orders.models import DraftOrder


class ErpExport(models.Model):
    """One push of one order: a file name and bytes that never change, and how far they came."""

    class Status(models.TextChoices):
        PENDING = "PENDING", "pending"
        SENT = "SENT", "sent"
        ACKED = "ACKED", "acknowledged"
        FAILED = "FAILED", "failed"

    class SentEvidence(models.TextChoices):
        OBSERVED = "OBSERVED", "observed"
        INFERRED = "INFERRED", "inferred: the staged file was taken"
        CONFIRMED = "CONFIRMED", "confirmed by a person"

    LIVE = (Status.PENDING, Status.SENT, Status.ACKED)
    NEEDS_DECISION = Q(status=Status.PENDING, next_attempt_at=None)
    OVERDUE = Q(status=Status.SENT, ack_due_at__lt=F("erp_connection__last_poll_at"))

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )
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

    # Set once, by the election of the staged file.
    staged_path = models.TextField(null=True)
    staged_at = models.DateTimeField(null=True)
    # Since a person began to settle it: the absence of its staged file proves nothing from then on.
    settling_since = models.DateTimeField(null=True)
    destination = models.JSONField(null=True)

    # `next_attempt_at` is null when nothing is to be tried without a person.
    attempts = models.PositiveIntegerField(db_default=0)
    next_attempt_at = models.DateTimeField(null=True, db_default=Now())
    swept_at = models.DateTimeField(null=True)
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
            ("settle_erpexport", "Can say what became of exports"),
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
                condition=Q(status="PENDING"),
                name="idx_erp_export_due",
            ),
            models.Index(
                fields=["erp_connection", "created_at", "id"],
                condition=Q(status="PENDING"),
                name="idx_erp_export_oldest",
            ),
            models.Index(fields=["filename"], name="idx_erp_export_filename"),
            models.Index(
                fields=["erp_connection", "sent_at"],
                condition=Q(status="SENT"),
                name="idx_erp_export_unanswered",
            ),
            models.Index(
                fields=["org", "-created_at", "-id"],
                condition=Q(status="SENT", ack_due_at__isnull=False),
                name="idx_erp_export_awaited",
            ),
            models.Index(
                fields=["erp_connection", "ack_due_at"],
                condition=Q(status="SENT", ack_due_at__isnull=False),
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
                condition=Q(swept_at=None, attempts__gt=1) | Q(swept_at=None, status="FAILED"),
                name="idx_erp_export_unswept",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["erp_connection", "filename"], name="erp_export_filename_unique"
            ),
            models.UniqueConstraint(
                fields=["draft_order"],
                condition=Q(status__in=["PENDING", "SENT", "ACKED"]),
                name="erp_export_one_live_per_order",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["PENDING", "SENT", "ACKED", "FAILED"]),
                name="erp_export_status_legal",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["SENT", "ACKED"])
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
                | Q(archived_at__isnull=False) & ~Q(status="PENDING"),
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


class ErpExportEvent(models.Model):
    """Something that happened to an export. Events are only ever added.

    `status` is the export's afterwards, so that replaying the events gives its present state.
    No actor: the system.
    """

    class Kind(models.TextChoices):
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
        ANSWERED = "ANSWERED", "answered again"
        FAILED = "FAILED", "failed"
        SETTLING = "SETTLING", "being settled by hand"
        SETTLED = "SETTLED", "settled by hand"
        CANCELLED = "CANCELLED", "cancelled"
        SWEPT = "SWEPT", "staging files removed"

    # What makes an export fail, other than that a person cancels it.
    FAILURE = Q(kind__in=[Kind.FAILED, Kind.REFUSED, Kind.SETTLED], status=ErpExport.Status.FAILED)

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
                condition=Q(kind__in=["FAILED", "REFUSED", "SETTLED"], status="FAILED"),
                name="idx_erp_export_event_failure",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} at {self.at:%Y-%m-%d %H:%M:%S}"


class Tally(models.Model):
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
        db_table = "tally"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["erp_connection", "outcome", "label"], name="tally_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.outcome} {self.label}: {self.count}"


class TallyProgress(models.Model):
    """The one row that says up to which event the tallies go: `counted`.

    `noted`: the latest event at `noted_at`, up to which they may go once it is settled.
    """

    counted = models.BigIntegerField(default=0)
    noted = models.BigIntegerField(default=0)
    noted_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "tally_progress"
        default_permissions = ()

    def __str__(self) -> str:
        return f"counted up to {self.counted}"


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


class ErpAck(models.Model):
    """A file in an ack folder that claims to answer an export, and what was made of it."""

    class Verdict(models.TextChoices):
        WAITING = "WAITING", "waiting for its export to be sent"
        APPLIED = "APPLIED", "applied"
        DUPLICATE = "DUPLICATE", "duplicate"
        CONFLICT = "CONFLICT", "contradicts an earlier answer"
        LATE = "LATE", "answers an older export"
        UNMATCHED = "UNMATCHED", "matches no export"
        MALFORMED = "MALFORMED", "malformed"
        DISMISSED = "DISMISSED", "dismissed"

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )
    org = models.ForeignKey(Org, on_delete=models.PROTECT, related_name="erp_acks", db_index=False)
    erp_connection = models.ForeignKey(
        ErpConnection, on_delete=models.PROTECT, related_name="acks", db_index=False
    )
    export = models.ForeignKey(ErpExport, on_delete=models.PROTECT, null=True, related_name="acks")
    # The file, of one too large its beginning. `modified_at`: seconds by the dropzone's clock.
    filename = models.TextField()
    sha256 = models.CharField("SHA-256", max_length=64)
    size = models.BigIntegerField(null=True)
    modified_at = models.BigIntegerField(null=True)
    raw = models.TextField()

    # What it says, if it was understood.
    is_accepted = models.BooleanField(null=True)
    erp_order_id = models.TextField("ERP order number", null=True)
    error_code = models.TextField(null=True)
    message = models.TextField(null=True)
    processed_at = models.DateTimeField("processed by the ERP at", null=True)

    verdict = models.CharField(max_length=20, choices=Verdict)
    reason = models.TextField(blank=True)
    seen_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    moved_at = models.DateTimeField(null=True)
    raw_pruned_at = models.DateTimeField(null=True)

    # What may change when a waiting file is looked at again.
    LOOKED_AT_AGAIN = (
        "export",
        "sha256",
        "size",
        "modified_at",
        "raw",
        "seen_at",
        "is_accepted",
        "erp_order_id",
        "error_code",
        "message",
        "processed_at",
        "verdict",
        "reason",
    )
    # A person has to look at these, until one has decided.
    OPEN = Q(verdict__in=["CONFLICT", "LATE", "UNMATCHED", "MALFORMED"], decided_at=None)

    class Meta:
        db_table = "erp_ack"
        verbose_name = "ERP ack"
        ordering = ["-seen_at", "-id"]
        permissions = [("decide_erpack", "Can decide what acks mean")]
        indexes = [
            models.Index(
                fields=["org", "-seen_at"],
                condition=Q(
                    verdict__in=["CONFLICT", "LATE", "UNMATCHED", "MALFORMED"], decided_at=None
                ),
                name="idx_erp_ack_open",
            ),
            models.Index(fields=["-seen_at", "-id"], name="idx_erp_ack_seen"),
            models.Index(fields=["org", "-seen_at", "-id"], name="idx_erp_ack_org_seen"),
            models.Index(
                fields=["org", "verdict", "-seen_at", "-id"], name="idx_erp_ack_org_verdict"
            ),
            models.Index(
                fields=["org", "erp_connection", "-seen_at", "-id"],
                name="idx_erp_ack_org_connection",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["erp_connection", "filename", "sha256"], name="erp_ack_file_once"
            )
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def is_settled(self) -> bool:
        """Whether the file may be put away: nothing more is expected of it."""
        return self.decided_at is not None or self.verdict not in (
            self.Verdict.WAITING,
            self.Verdict.UNMATCHED,
        )

    @property
    def answer(self) -> Ack | None:
        """What the file says; None if it was not understood."""
        if self.is_accepted is None:
            return None
        return Ack(
            is_accepted=self.is_accepted,
            erp_order_id=self.erp_order_id,
            error_code=self.error_code,
            message=self.message,
            processed_at=self.processed_at,
        )

    def fill(self, answer: Ack | None) -> None:
        """Take over what the file says; None: it was not understood."""
        for name in ("is_accepted", "erp_order_id", "error_code", "message", "processed_at"):
            setattr(self, name, getattr(answer, name, None))


class Batch(models.Model):
    """A decision about many orders, which a worker carries out."""

    class Action(models.TextChoices):
        """The names of exports.pushing.actions.DECISIONS."""

        APPROVE = "approve", "approve"
        PUSH = "push", "push"
        RETRY = "retry", "retry"
        REJECT = "reject", "reject"

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        RUNNING = "running", "running"
        FINISHED = "finished", "finished"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )
    org = models.ForeignKey(Org, on_delete=models.PROTECT, related_name="batches", db_index=False)
    action = models.CharField(max_length=20, choices=Action)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    confirm_warnings = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    # Who holds the lease does the batch; `rung_at`: a worker was called and has not come yet.
    lease_until = models.DateTimeField(null=True)
    rung_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "batch"
        verbose_name_plural = "batches"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["org", "-created_at", "-id"], name="idx_batch_org_created"),
            models.Index(
                fields=["created_at"], condition=Q(finished_at=None), name="idx_batch_unfinished"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=["approve", "push", "retry", "reject"]),
                name="batch_action_legal",
            ),
            models.CheckConstraint(
                condition=Q(cancelled_at=None, cancelled_by=None)
                | Q(
                    cancelled_at__isnull=False,
                    cancelled_by__isnull=False,
                    finished_at__isnull=False,
                ),
                name="batch_cancelled_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {str(self.id)[:8]}"

    @property
    def state(self) -> State:
        if self.cancelled_at:
            return self.State.CANCELLED
        if self.finished_at:
            return self.State.FINISHED
        return self.State.RUNNING if self.started_at else self.State.WAITING


class BatchItem(models.Model):
    """An order of a batch and what became of it there; `code` and `message` say why not.

    `content_sha256` is the hash of the order's content that the confirmation page showed, if the
    batch approves: other content is not approved. Empty, it matches no content.

    Items change only while their batch is locked, in the order of their ids.
    """

    class Outcome(models.TextChoices):
        WAITING = "WAITING", "waiting"
        DONE = "DONE", "done"
        REFUSED = "REFUSED", "refused"
        FAILED = "FAILED", "failed"
        CANCELLED = "CANCELLED", "cancelled"

    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="items", db_index=False)
    draft_order = models.ForeignKey(
        DraftOrder, on_delete=models.PROTECT, related_name="batch_items"
    )
    content_sha256 = models.CharField(max_length=64, blank=True, db_default="")
    outcome = models.CharField(
        max_length=20, choices=Outcome, default=Outcome.WAITING, db_default=Outcome.WAITING
    )
    code = models.CharField(max_length=50, blank=True, db_default="")
    message = models.TextField(blank=True, db_default="")
    export = models.ForeignKey(
        ErpExport, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "batch_item"
        ordering = ["id"]
        indexes = [
            # For the next ones to do, for counting, and for reading those of one outcome.
            models.Index(fields=["batch", "outcome", "id"], name="idx_batch_item_outcome"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["batch", "draft_order"], name="batch_item_order_once"),
            models.CheckConstraint(
                condition=Q(outcome="WAITING", finished_at=None)
                | Q(
                    outcome__in=["DONE", "REFUSED", "FAILED", "CANCELLED"],
                    finished_at__isnull=False,
                ),
                name="batch_item_outcome_legal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.draft_order}: {self.get_outcome_display()}"
