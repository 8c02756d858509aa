"""The table of connections."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.db.models import Q

from accounts.models import Org, User
from connectors import registry
from connectors.errors import ConnectorError
from connectors.fields import EncryptedConfigField
from connectors.port import ConfigError, ERPConnectorPort
from kernel.db import Now, RandomUUID

# Codes of pauses that no error has caused.
NEVER_TESTED = "NEVER_TESTED"
BY_PERSON = "BY_PERSON"


class ErpConnection(models.Model):
    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="erp_connections", db_index=False
    )
    connector_type = models.TextField(choices=registry.choices)
    config_encrypted = EncryptedConfigField(editable=False)
    # Of each secret in it: {"at": when it was set, "by": by whom, "about": what may be told of it}.
    secrets_set = models.JSONField(db_default={}, default=dict, editable=False)
    active = models.BooleanField(
        default=True, db_default=True, help_text="An inactive connection takes no new pushes."
    )
    last_test_at = models.DateTimeField(null=True, editable=False)
    last_test_success = models.BooleanField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    # A paused connection delivers nothing. `pause_code` is why: an error code, NEVER_TESTED or
    # BY_PERSON. A person (`paused_by`) adds `pause_text`; the code of the system's pause stays.
    paused_at = models.DateTimeField(null=True, db_default=Now(), editable=False)
    paused_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    pause_code = models.TextField(blank=True, db_default=NEVER_TESTED, editable=False)
    pause_text = models.TextField(blank=True, db_default="", editable=False)

    # Failures to reach the server, and when to try again.
    failures = models.PositiveIntegerField(db_default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    last_error = models.JSONField(null=True, editable=False)

    # When the server took so long to answer that the connection was put into the slow lane.
    slow_since = models.DateTimeField(null=True, editable=False)

    # When a folder was last found missing: what lay in it then may be gone without a trace.
    folder_missing_at = models.DateTimeField(null=True, editable=False)

    lease_until = models.DateTimeField(null=True, editable=False)
    rung_at = models.DateTimeField(null=True, editable=False)
    capabilities = models.JSONField(db_default={}, default=dict, editable=False)
    host_key_seen = models.TextField(blank=True, db_default="", editable=False)
    # `last_poll_at`: all answers that lay there then were read. `ack_error`: what went wrong.
    last_poll_at = models.DateTimeField(null=True, editable=False)
    poll_due_at = models.DateTimeField(db_default=Now(), editable=False)
    poll_rung_at = models.DateTimeField(null=True, editable=False)
    ack_error = models.JSONField(null=True, editable=False)
    ack_deadline = models.DurationField(
        null=True,
        blank=True,
        help_text="How long the ERP may take to answer before an order counts as overdue.",
    )

    class Meta:
        db_table = "erp_connection"
        verbose_name = "ERP connection"
        permissions = [
            ("test_erpconnection", "Can test ERP connections"),
            ("pause_erpconnection", "Can pause and resume ERP connections"),
        ]
        indexes = [models.Index(fields=["org", "active"], name="idx_erp_connection_org_active")]
        constraints = [
            models.UniqueConstraint(
                fields=["org", "connector_type"],
                name="idx_erp_connection_org_type",
                violation_error_message="This organisation has a connection of this type.",
            ),
            models.CheckConstraint(
                condition=Q(paused_at=None, pause_code="", paused_by=None, pause_text="")
                | Q(paused_at__isnull=False, paused_by=None, pause_text="")
                & ~Q(pause_code__in=["", BY_PERSON])
                | Q(paused_at__isnull=False, paused_by__isnull=False)
                & ~Q(pause_code="")
                & ~Q(pause_text=""),
                name="erp_connection_pause_has_code",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.org} · {self.get_connector_type_display()}"

    @property
    def connector(self) -> ERPConnectorPort:
        return registry.get_connector(self.connector_type)

    @property
    def config(self) -> dict[str, Any]:
        """The decrypted configuration, secrets included. Raises ConnectorError."""
        return self.config_encrypted.open(owner=self.id)

    def parse_config(self) -> Any:
        """The configuration as its connector takes it. Raises ConnectorError."""
        try:
            return self.connector.parse_config(self.config)
        except ConfigError as e:
            raise ConnectorError("CONFIG_INVALID", public=str(e)) from e

    @property
    def reads_acks(self) -> bool:
        """Whether the ERP may answer here; it may where the configuration cannot say."""
        try:
            return self.connector.reads_acks(self.parse_config())
        except ConnectorError:
            return True

    def seal(self, config: Mapping[str, Any]) -> None:
        """Encrypt a configuration for this row; saving is up to the caller."""
        field = self._meta.get_field("config_encrypted")
        assert isinstance(field, EncryptedConfigField)
        self.config_encrypted = field.seal(config, owner=self.id)

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
