"""Draft orders as JSON. Quantities and prices go out as texts, so that no client rounds them."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.exports.serializers import ErpExportSummarySerializer
from api.serializers import (
    Boolean,
    BoundedListSerializer,
    Person,
    StrictModelSerializer,
    StrictSerializer,
)
from kernel.limits import MAX_LINES
from orders import content
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument

_MAX_LINE_NO = 2**31 - 1


class CustomerSerializer(StrictModelSerializer[Customer]):
    class Meta:
        model = Customer
        fields = ["id", "erp_customer_number", "name"]


class SourceDocumentSerializer(StrictModelSerializer[SourceDocument]):
    class Meta:
        model = SourceDocument
        fields = ["id", "file_name", "sha256"]


class DraftOrderLineSerializer(StrictModelSerializer[DraftOrderLine]):
    class Meta:
        model = DraftOrderLine
        fields = [
            "line_no",
            "internal_sku",
            "customer_sku_raw",
            "qty",
            "uom",
            "unit_price",
            "currency",
            "description",
        ]
        extra_kwargs = {
            "line_no": {"max_value": _MAX_LINE_NO},
            "qty": {"normalize_output": True},
            "unit_price": {"normalize_output": True},
        }


class DraftOrderSummarySerializer(StrictModelSerializer[DraftOrder]):
    """An order in a list: everything that costs no query and no lines."""

    customer = CustomerSerializer(required=False, allow_null=True)
    source_document = SourceDocumentSerializer(required=False, allow_null=True)
    approved_by = Person("approved_by", allow_null=True)
    latest_export = serializers.SerializerMethodField(
        help_text="The live export of the order (pending, sent or acknowledged), else its newest. "
        "The live one can be older than a failed one if the ERP accepted it late."
    )

    class Meta:
        model = DraftOrder
        fields = [
            "id",
            "status",
            "external_order_number",
            "order_date",
            "requested_delivery_date",
            "currency",
            "notes",
            "customer",
            "source_document",
            "approved_at",
            "approved_by",
            "latest_export",
            "created_at",
            "updated_at",
        ]

    def to_representation(self, order: DraftOrder) -> dict[str, Any]:
        shown = super().to_representation(order)
        if shown["customer"]:
            shown["customer"]["name"] = order.name_of_customer
        return shown

    @extend_schema_field(ErpExportSummarySerializer(allow_null=True))
    def get_latest_export(self, order: DraftOrder) -> dict[str, Any] | None:
        # The view has loaded them, the live one first.
        latest = next(iter(order.exports.all()), None)
        return ErpExportSummarySerializer(latest).data if latest else None


class DraftOrderSerializer(DraftOrderSummarySerializer):
    lines = BoundedListSerializer(child=DraftOrderLineSerializer(), max_length=MAX_LINES)
    ready = serializers.SerializerMethodField()
    blocking_reasons = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()
    content_sha256 = serializers.SerializerMethodField(
        help_text="The hash of all that reaches the ERP, the customer and the document included."
    )

    class Meta(DraftOrderSummarySerializer.Meta):
        fields = [
            *DraftOrderSummarySerializer.Meta.fields,
            "lines",
            "ready",
            "blocking_reasons",
            "warnings",
            "content_sha256",
        ]

    def validate_lines(self, lines: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        seen: set[int] = set()
        for line in lines:
            if line["line_no"] in seen:
                raise serializers.ValidationError(f"Two lines have the number {line['line_no']}.")
            seen.add(line["line_no"])
        return lines

    def get_ready(self, order: DraftOrder) -> bool:
        return not content.blocking_reasons(order)

    def get_blocking_reasons(self, order: DraftOrder) -> list[str]:
        return content.blocking_reasons(order)

    def get_warnings(self, order: DraftOrder) -> list[str]:
        return content.warnings(order)

    def get_content_sha256(self, order: DraftOrder) -> str:
        return content.content_hash(order)


class ApprovalSerializer(StrictSerializer[Any]):
    confirm_warnings = Boolean(default=False)
    content_sha256 = serializers.RegexField(r"^[0-9a-f]{64}\Z", required=False)
