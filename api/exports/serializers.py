"""Exports and their events as JSON. A payload has a route of its own; staging names stay inside."""

from typing import Any, Final

from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.schema import part
from api.serializers import ErrorReport, Person, StrictSerializer, Text
from exports.models import ErpExport, ErpExportEvent
from exports.reporting.outlook import Circumstances, Code, outlook

_STAGING_NAMES: Final = {"tmp", "path", "removed"}


class ErpExportSummarySerializer(serializers.ModelSerializer[ErpExport]):
    """An export as part of its order."""

    error = ErrorReport(source="error_json")

    class Meta:
        model = ErpExport
        fields = read_only_fields = ["id", "status", "filename", "erp_order_id", "error"]


class ErpExportSerializer(ErpExportSummarySerializer):
    sent_evidence = Text(read_only=True)
    requested_by = Person("requested_by", allow_null=True)
    approved_by = Person(
        "approved_by", allow_null=True, help_text="Who approved what the export carries."
    )
    approved_hash = Text(
        read_only=True, help_text="The SHA-256 of the approved content; null if it is not known."
    )
    waiting_for = serializers.SerializerMethodField()
    needs_decision = serializers.BooleanField(read_only=True)
    is_overdue = serializers.BooleanField(read_only=True)

    class Meta:
        model = ErpExport
        fields = read_only_fields = [
            "id",
            "draft_order",
            "erp_connection",
            "status",
            "waiting_for",
            "needs_decision",
            "is_overdue",
            "filename",
            "dropzone_path",
            "export_format_version",
            "payload_sha256",
            "payload_size",
            "erp_order_id",
            "error",
            "attempts",
            "next_attempt_at",
            "sent_at",
            "sent_evidence",
            "picked_up_at",
            "acked_at",
            "ack_due_at",
            "archived_at",
            "requested_by",
            "approved_by",
            "approved_hash",
            "created_at",
            "updated_at",
        ]

    @cached_property
    def _circumstances(self) -> Circumstances:
        # One serializer serves all exports of a response.
        return Circumstances()

    @extend_schema_field(part("schemas", "WaitingFor") | {"nullable": True})
    def get_waiting_for(self, export: ErpExport) -> dict[str, Any] | None:
        connection = export.erp_connection
        if export.status != ErpExport.Status.PENDING:
            return None
        waiting = outlook(export, self._circumstances)
        if waiting.code is Code.DUE and connection.last_error is None:
            return None
        return {
            "code": waiting.code,
            "message": waiting.text,
            "until": waiting.until,
            "connection_paused": connection.pause_reason or None,
            "error": connection.last_error,
        }


class ErpExportEventSerializer(serializers.ModelSerializer[ErpExportEvent]):
    actor = Person("actor", allow_null=True)
    detail = serializers.SerializerMethodField()

    class Meta:
        model = ErpExportEvent
        fields = read_only_fields = ["id", "kind", "status", "at", "actor", "detail"]

    def get_detail(self, event: ErpExportEvent) -> dict[str, Any]:
        return {name: v for name, v in event.detail.items() if name not in _STAGING_NAMES}


class CancellationSerializer(StrictSerializer[Any]):
    reason = Text(default="", allow_blank=True, max_length=1000)
