"""The table of acks: files in which ERPs answer, and what was made of them."""

from dataclasses import fields
from typing import Final

from django.db import models
from django.db.models import Q

from accounts.models import Org, User
from connectors.models import ErpConnection
from connectors.port import Ack
from exports import messages
from exports.models.export import ErpExport
from kernel.db import Now
from kernel.models import UuidModel

_TO_REVIEW: Final = ["CONFLICT", "LATE", "UNMATCHED", "MALFORMED"]
_OF_FILE: Final = ("export", "sha256", "size", "modified_at", "raw", "seen_at")
_WHY: Final = ("reason_code", "reason_values", "note")
# The columns of what a file says are named like the members of an Ack.
_OF_ACK: Final = tuple(field.name for field in fields(Ack))


class ErpAck(UuidModel):
    """A file in an ack folder that claims to answer an export, and what was made of it."""

    class Classification(models.TextChoices):
        WAITING = "WAITING", "waiting for its export to be sent"
        APPLIED = "APPLIED", "applied"
        DUPLICATE = "DUPLICATE", "duplicate"
        CONFLICT = "CONFLICT", "contradicts an earlier ack"
        LATE = "LATE", "about an older export"
        UNMATCHED = "UNMATCHED", "matches no export"
        MALFORMED = "MALFORMED", "malformed"
        DISMISSED = "DISMISSED", "dismissed"

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

    classification = models.CharField(max_length=20, choices=Classification)
    # Why: a code and values, and what a person wrote. In old rows `note` has the whole sentence.
    reason_code = models.CharField(max_length=40, blank=True, default="", db_default="")
    reason_values = models.JSONField(db_default={}, default=dict)
    note = models.TextField(blank=True, db_column="reason")
    seen_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    moved_at = models.DateTimeField(null=True)
    raw_pruned_at = models.DateTimeField(null=True)

    # What may change when a waiting file is looked at again.
    LOOKED_AT_AGAIN = (*_OF_ACK, *_OF_FILE, "classification", *_WHY)
    # A person has to look at these, until one has decided.
    TO_REVIEW = _TO_REVIEW
    OPEN = Q(classification__in=_TO_REVIEW, decided_at=None)

    class Meta:
        db_table = "erp_ack"
        verbose_name = "ERP ack"
        ordering = ["-seen_at", "-id"]
        permissions = [("decide_erpack", "Can decide what acks mean")]
        indexes = [
            models.Index(
                fields=["org", "-seen_at"],
                condition=Q(classification__in=_TO_REVIEW, decided_at=None),
                name="idx_erp_ack_open",
            ),
            models.Index(fields=["-seen_at", "-id"], name="idx_erp_ack_seen"),
            models.Index(fields=["org", "-seen_at", "-id"], name="idx_erp_ack_org_seen"),
            models.Index(
                fields=["org", "classification", "-seen_at", "-id"],
                name="idx_erp_ack_org_classification",
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
    def reason(self) -> str:
        """Why it was classified or decided so, as a text for people."""
        said = (self.note, messages.message(self.reason_code, self.reason_values))
        return " ".join(filter(None, said))

    def explain(self, code: str, /, *, note: str = "", **values: str) -> None:
        """Set the reason: a code of exports.messages with its values, and what a person wrote."""
        self.reason_code, self.reason_values, self.note = code, values, note

    @property
    def is_movable(self) -> bool:
        """Whether the file may be put away: nothing more is expected of it."""
        return self.decided_at is not None or self.classification not in (
            self.Classification.WAITING,
            self.Classification.UNMATCHED,
        )

    @property
    def content(self) -> Ack | None:
        """What the file says; None if it was not understood."""
        if self.is_accepted is None:
            return None
        return Ack(**{name: getattr(self, name) for name in _OF_ACK})

    def fill(self, content: Ack | None) -> None:
        """Take over what the file says; None: it was not understood."""
        for name in _OF_ACK:
            setattr(self, name, getattr(content, name, None))
