"""A test of a connection, from the request of a person to its result."""

from django.db import models
from django.db.models import Q

from accounts.models import User
from connectors.models.connection import ErpConnection
from kernel.db import Now
from kernel.models import UuidModel


class ConnectionTest(UuidModel):
    """A connection test that a person has asked for, and how far a worker has come with it.

    `steps` are those of a ConnectionReport, as JSON.
    """

    connection = models.ForeignKey(ErpConnection, on_delete=models.PROTECT, related_name="tests")
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(db_default=Now())
    enqueued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    steps = models.JSONField(db_default=[], default=list)
    success = models.BooleanField(null=True)

    class Meta:
        db_table = "connection_test"
        ordering = ["-requested_at"]
        indexes = [
            models.Index(
                fields=["requested_at"],
                condition=Q(finished_at=None),
                name="idx_connection_test_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.connection}, {self.requested_at:%Y-%m-%d %H:%M:%S}"
