"""What people set of a connection, and the configuration that its connector takes."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import models

from accounts.models import Org
from connectors import registry
from connectors.errors import ConnectorError
from connectors.fields import EncryptedConfigField
from connectors.port import ConfigError, ERPConnectorPort
from kernel.models import UuidModel


class ConnectionConfiguration(UuidModel):
    """The columns that only connectors.configuring writes; connectors.rotation encrypts anew."""

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
    ack_deadline = models.DurationField(
        null=True,
        blank=True,
        help_text="How long the ERP may take to answer before an order counts as overdue.",
    )

    class Meta:
        abstract = True

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


CONFIGURATION: Final = frozenset(
    field.name for field in ConnectionConfiguration._meta.local_fields if not field.primary_key
)
