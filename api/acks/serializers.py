"""Acks as JSON. Only a single ack shows its file."""

from rest_framework import serializers

from api.serializers import Person, Text
from exports.models import ErpAck


class ErpAckSummarySerializer(serializers.ModelSerializer[ErpAck]):
    """An answer in a list: everything but the file itself."""

    accepted = serializers.BooleanField(source="is_accepted", read_only=True, allow_null=True)
    reason = Text(read_only=True)
    decided_by = Person("decided_by", allow_null=True)

    class Meta:
        model = ErpAck
        fields = read_only_fields = [
            "id",
            "erp_connection",
            "export",
            "filename",
            "sha256",
            "size",
            "classification",
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
