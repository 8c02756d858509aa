"""The table of connections: their configuration and their state in one row."""

from typing import Any

from django.db import models
from django.db.models import Q

from connectors.models.configuration import CONFIGURATION, ConnectionConfiguration
from connectors.models.state import BY_PERSON, OperationalState
from kernel.db import Now


class ErpConnection(ConnectionConfiguration, OperationalState):
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

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

    def save(self, **options: Any) -> None:
        """Insert the row, or write its configuration alone.

        The state that this object has read may be old: written back, it would end the lease of a
        worker or lift a pause. `update_fields` names what else is to be written.
        """
        is_new = self._state.adding or options.get("force_insert")
        if not is_new and options.get("update_fields") is None:
            options["update_fields"] = CONFIGURATION - self.get_deferred_fields()
        super().save(**options)
