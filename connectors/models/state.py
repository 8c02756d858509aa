"""What a connection is doing now: written while it delivers, polls and is tested."""

from django.db import models

from accounts.models import User
from kernel.db import Now

# Codes of pauses that no error has caused.
NEVER_TESTED = "NEVER_TESTED"
BY_PERSON = "BY_PERSON"


class OperationalState(models.Model):
    """The columns that only the modules named here write, each with a conditional UPDATE."""

    # connectors.circuit_breaker: the last test, and what it has found out about the server.
    last_test_at = models.DateTimeField(null=True, editable=False)
    last_test_success = models.BooleanField(null=True, editable=False)
    capabilities = models.JSONField(db_default={}, default=dict, editable=False)
    host_key_seen = models.TextField(blank=True, db_default="", editable=False)

    # connectors.circuit_breaker: the pause.
    # A paused connection delivers nothing. `pause_code` is why: an error code, NEVER_TESTED or
    # BY_PERSON. A person (`paused_by`) adds `pause_text`; the code of the system's pause stays.
    paused_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    paused_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    pause_code = models.TextField(blank=True, db_default=NEVER_TESTED, editable=False)
    pause_text = models.TextField(blank=True, db_default="", editable=False)

    # connectors.circuit_breaker: failures to reach the server, and when to try again.
    failures = models.PositiveIntegerField(db_default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    last_error = models.JSONField(null=True, editable=False)
    # When the server took so long to answer that the connection counts as degraded.
    degraded_since = models.DateTimeField(null=True, editable=False)
    # When a folder was last found missing: what lay in it then may be gone without a trace.
    folder_missing_at = models.DateTimeField(null=True, editable=False)

    # connectors.lease: until when a worker serves the connection.
    lease_until = models.DateTimeField(null=True, editable=False)

    # exports.delivery.dispatch: when a delivery or a poll was enqueued, and when the next poll is
    # due. The delivery (exports.delivery.protocol) or poll (exports.acks.poller) clears its mark.
    enqueued_at = models.DateTimeField(null=True, editable=False)
    poll_due_at = models.DateTimeField(db_default=Now(), editable=False)
    poll_enqueued_at = models.DateTimeField(null=True, editable=False)

    # exports.acks.poller: when all acks that were there were last read, and what went wrong.
    last_poll_at = models.DateTimeField(null=True, editable=False)
    ack_error = models.JSONField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def pause_reason(self) -> str:
        """Why the connection is paused: what a person wrote, else the code; empty if it is not."""
        return self.pause_text or self.pause_code

    @property
    def system_pause_code(self) -> str:
        """The code of a pause by the system; empty if a person has paused the connection."""
        return "" if self.paused_by_id else self.pause_code
