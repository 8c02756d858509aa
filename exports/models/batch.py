"""The tables of batches: one decision about many orders, and the result of each order."""

from django.db import models
from django.db.models import Q

from accounts.models import Org, User
from exports.models.export import ErpExport
from kernel.db import Now
from kernel.models import UuidModel
from orders.models import DraftOrder


class Batch(UuidModel):
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

    org = models.ForeignKey(Org, on_delete=models.PROTECT, related_name="batches", db_index=False)
    action = models.CharField(max_length=20, choices=Action)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    confirm_warnings = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    # Who holds the lease does the batch; `enqueued_at`: a worker was called and has not come yet.
    lease_until = models.DateTimeField(null=True)
    enqueued_at = models.DateTimeField(null=True)

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
