"""Exports as JSON. Payloads have their own route; staging names stay inside."""

from typing import Any, Final

from rest_framework import serializers

from exports.models import ErpAck, ErpExport, ErpExportEvent
from orderflow.serializers import StrictSerializer, Text

_STAGING_NAMES: Final = {"tmp", "path", "removed"}


class ErpExportSummarySerializer(serializers.ModelSerializer[ErpExport]):
    """An export as part of its order."""

    error = serializers.JSONField(source="error_json", read_only=True)

    class Meta:
        model = ErpExport
        fields = read_only_fields = ["id", "status", "filename", "erp_order_id", "error"]


class ErpExportSerializer(ErpExportSummarySerializer):
    sent_evidence = Text(read_only=True)
    requested_by = serializers.CharField(
        source="requested_by.contact", read_only=True, allow_null=True
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
            "created_at",
            "updated_at",
        ]

    def get_waiting_for(self, export: ErpExport) -> dict[str, Any] | None:
        connection = export.erp_connection
        if export.status != ErpExport.Status.PENDING:
            return None
        if not connection.is_paused and connection.last_error is None:
            return None
        return {
            "connection_paused": connection.pause_reason or None,
            "error": connection.last_error,
        }


class ErpExportEventSerializer(serializers.ModelSerializer[ErpExportEvent]):
    actor = serializers.CharField(source="actor.contact", read_only=True, allow_null=True)
    detail = serializers.SerializerMethodField()

    class Meta:
        model = ErpExportEvent
        fields = read_only_fields = ["id", "kind", "status", "at", "actor", "detail"]

    def get_detail(self, event: ErpExportEvent) -> dict[str, Any]:
        return {name: v for name, v in event.detail.items() if name not in _STAGING_NAMES}


class ErpAckSummarySerializer(serializers.ModelSerializer[ErpAck]):
    """An answer in a list: everything but the file itself."""

    accepted = serializers.BooleanField(source="is_accepted", read_only=True, allow_null=True)
    reason = Text(read_only=True)
    decided_by = serializers.CharField(source="decided_by.contact", read_only=True, allow_null=True)

    class Meta:
        model = ErpAck
        fields = read_only_fields = [
            "id",
            "erp_connection",
            "export",
            "filename",
            "sha256",
            "size",
            "verdict",
            "reason",
            "accepted",
            "erp_order_id",
            "error_code",
            "message",
            "processed_at",
            "seen_at",
            "decided_at",
            "decided_by",
            "moved_at",
        ]


class ErpAckSerializer(ErpAckSummarySerializer):
    class Meta(ErpAckSummarySerializer.Meta):
        fields = read_only_fields = [*ErpAckSummarySerializer.Meta.fields, "raw"]


class CancellationSerializer(StrictSerializer[Any]):
    reason = Text(default="", allow_blank=True, max_length=1000)
