"""Connections as JSON. Secrets only go in; what comes out shows at most that there is one."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from connectors import registry
from connectors.configuring import masked_config
from connectors.errors import ConnectorError
from connectors.models import ConnectionTest, ErpConnection
from exports.connection_tests import is_lost
from orderflow.serializers import StrictSerializer, Text

# About 27 years: more than any ERP may take, and less than what a date can hold.
_MAX_SECONDS = 10_000 * 24 * 3600


class ConfigurationField(serializers.DictField):
    """The configuration of a connector, whose own fields its connector checks."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        given: dict[str, Any] = super().to_internal_value(data)
        # The API reads numbers exactly; a configuration has none that need it.
        return {n: float(v) if isinstance(v, Decimal) else v for n, v in given.items()}

    def to_representation(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return dict(value)


class SecondsField(serializers.IntegerField):
    """A duration as a whole number."""

    def to_representation(self, value: timedelta) -> int:  # type: ignore[override]
        return int(value.total_seconds())


class ErpConnectionSerializer(
    StrictSerializer[ErpConnection], serializers.ModelSerializer[ErpConnection]
):
    connector_type = serializers.ChoiceField(choices=registry.choices())
    config = ConfigurationField(write_only=True)
    ack_deadline_seconds = SecondsField(
        source="ack_deadline",
        min_value=1,
        max_value=_MAX_SECONDS,
        required=False,
        allow_null=True,
        help_text="How long the ERP may take to answer before an order counts as overdue.",
    )
    pause_reason = Text(read_only=True)
    paused_by = serializers.CharField(source="paused_by.contact", read_only=True, allow_null=True)
    host_key_seen = Text(read_only=True, help_text="The host key that the last test was shown.")

    class Meta:
        model = ErpConnection
        fields = [
            "id",
            "connector_type",
            "config",
            "secrets_set",
            "active",
            "ack_deadline_seconds",
            "paused_at",
            "paused_by",
            "pause_reason",
            "failures",
            "failing_since",
            "retry_at",
            "last_error",
            "last_test_at",
            "last_test_success",
            "host_key_seen",
            "capabilities",
            "last_poll_at",
            "ack_error",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["secrets_set", "last_error", "capabilities", "ack_error"]

    def to_representation(self, connection: ErpConnection) -> dict[str, Any]:
        shown = super().to_representation(connection)
        try:
            config: dict[str, Any] | None = masked_config(connection)
        except ConnectorError:
            # Its tests and deliveries say why. It can be set anew.
            config = None
        return {"id": shown["id"], "config": config, **shown}

    def validate_ack_deadline_seconds(self, seconds: int | None) -> timedelta | None:
        return None if seconds is None else timedelta(seconds=seconds)

    def validate_connector_type(self, connector_type: str) -> str:
        if self.instance and connector_type != self.instance.connector_type:
            raise serializers.ValidationError("It is chosen once and cannot be changed.")
        return connector_type


class PauseSerializer(StrictSerializer[Any]):
    reason = serializers.CharField(max_length=500, help_text="It is kept, with your name.")


class ConnectionTestSerializer(serializers.ModelSerializer[ConnectionTest]):
    requested_by = serializers.CharField(source="requested_by.contact", read_only=True)
    is_lost = serializers.SerializerMethodField(
        help_text="Whether it will never finish: no worker has taken it, or its worker was killed."
    )

    class Meta:
        model = ConnectionTest
        fields = read_only_fields = [
            "id",
            "connection",
            "requested_by",
            "requested_at",
            "started_at",
            "finished_at",
            "is_lost",
            "success",
            "steps",
        ]

    def get_is_lost(self, test: ConnectionTest) -> bool:
        return is_lost(test)
