"""Connections as JSON. Secrets only go in; an answer shows at most that one is set."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import append_meta
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.schema import part
from api.serializers import Boolean, ErrorReport, Person, StrictSerializer, Text
from connectors import registry
from connectors.configuring import masked_config
from connectors.errors import ConnectorError
from connectors.models import ConnectionTest, ErpConnection
from connectors.port import ConfigField
from exports.connection_tests import is_lost

_JSON_TYPES: Final = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "lines": "array",
}
# About 27 years: more than any ERP may take, and less than what a date can hold.
_MAX_SECONDS = 10_000 * 24 * 3600


class ConfigurationField(serializers.DictField):
    """The configuration of a connector, whose own fields its connector checks.

    Secrets are masked. It is shown as null if it cannot be decrypted: tests and deliveries say why,
    and it can be set anew.
    """

    def get_attribute(self, connection: ErpConnection) -> dict[str, Any] | None:
        try:
            return masked_config(connection)
        except ConnectorError:
            return None

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        given: dict[str, Any] = super().to_internal_value(data)
        # The API reads numbers exactly; a configuration has none that need it.
        return {n: float(v) if isinstance(v, Decimal) else v for n, v in given.items()}

    def to_representation(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return dict(value)


class ConfigurationExtension(OpenApiSerializerFieldExtension):
    """Describes a configuration by the fields that the connectors declare."""

    target_class = ConfigurationField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        properties = {
            field.name: _described(field)
            for connector_type in registry.CONNECTORS
            for field in registry.get_connector(connector_type).config_form
        }
        schema = {"type": "object", "properties": properties}
        return append_meta(schema, {"nullable": direction == "response"})


def _described(field: ConfigField) -> dict[str, Any]:
    """A field of a configuration as JSON Schema; null is as good as leaving it out."""
    modes = f"In mode `{min(field.modes)}`." if len(field.modes) == 1 else ""
    schema: dict[str, Any] = {
        "description": " ".join(text for text in (f"{field.label}.", field.help, modes) if text),
        "type": _JSON_TYPES.get(field.kind, "string"),
    }
    if field.kind == "lines":
        schema["items"] = {"type": "string"}
    if field.kind == "secret":
        schema["format"] = "password"
    if field.choices:
        schema["enum"] = [choice for choice, _ in field.choices]
    if field.default is not None:
        schema["default"] = field.default
    if field.minimum is not None:
        schema |= {"minimum": field.minimum, "maximum": field.maximum}
    return append_meta(schema, {"nullable": not field.is_required})


class SecondsField(serializers.IntegerField):
    """A duration as a whole number."""

    def to_representation(self, value: timedelta) -> int:  # type: ignore[override]
        return int(value.total_seconds())


class ErpConnectionSerializer(
    StrictSerializer[ErpConnection], serializers.ModelSerializer[ErpConnection]
):
    config = ConfigurationField()
    active = Boolean(required=False, help_text="An inactive connection takes no new pushes.")
    ack_deadline_seconds = SecondsField(
        source="ack_deadline",
        min_value=1,
        max_value=_MAX_SECONDS,
        required=False,
        allow_null=True,
        help_text="How long the ERP may take to answer before an order counts as overdue.",
    )
    pause_code = Text(
        read_only=True,
        help_text="Why it is paused: an error code, `NEVER_TESTED` or `BY_PERSON`. A person who "
        "pauses a connection that is paused already keeps its code: `paused_by` says who paused.",
    )
    pause_reason = Text(
        read_only=True, help_text="What the person wrote who has paused it; else the code."
    )
    last_error = ErrorReport()
    ack_error = ErrorReport()
    capabilities = serializers.DictField(read_only=True)
    secrets_set = serializers.DictField(
        read_only=True,
        help_text="Of each secret: when it was set, by whom, what may be told of it.",
    )
    paused_by = Person("paused_by", allow_null=True)
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
            "pause_code",
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

    def validate_ack_deadline_seconds(self, seconds: int | None) -> timedelta | None:
        return None if seconds is None else timedelta(seconds=seconds)

    def validate_connector_type(self, connector_type: str) -> str:
        if self.instance and connector_type != self.instance.connector_type:
            raise serializers.ValidationError(_("The type of a connection cannot be changed."))
        return connector_type


class PauseSerializer(StrictSerializer[Any]):
    reason = Text(max_length=500, help_text="It is kept, with your name.")


class ConnectionTestSerializer(serializers.ModelSerializer[ConnectionTest]):
    requested_by = Person("requested_by")
    steps = serializers.SerializerMethodField()
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

    @extend_schema_field({"type": "array", "items": part("schemas", "TestStep")})
    def get_steps(self, test: ConnectionTest) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = test.steps
        return steps

    def get_is_lost(self, test: ConnectionTest) -> bool:
        return is_lost(test)
