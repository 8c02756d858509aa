"""Batches as JSON: which orders to take, how far a batch is, and the result for each order."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.filtering import narrowed
from api.orders.filters import DraftOrderFilterSet
from api.serializers import BoundedListField, Person, StrictSerializer, Text
from exports.models import Batch, BatchItem
from exports.pushing.batches import MAX_BATCH_ORDERS, BatchPreview, Progress, progress
from kernel.problems import WrongParameter
from orders.models import DraftOrder


class BatchSummarySerializer(serializers.ModelSerializer[Batch]):
    """A batch in a list: everything but how far it is."""

    state = serializers.ChoiceField(choices=Batch.State.choices, read_only=True)
    requested_by = Person("requested_by")
    cancelled_by = Person("cancelled_by", allow_null=True)

    class Meta:
        model = Batch
        fields = read_only_fields = [
            "id",
            "action",
            "state",
            "requested_by",
            "created_at",
            "started_at",
            "finished_at",
            "cancelled_at",
            "cancelled_by",
        ]


class BatchCountsSerializer(serializers.Serializer[Progress]):
    """How many orders came to what."""

    total = serializers.IntegerField()
    waiting = serializers.IntegerField()
    done = serializers.IntegerField()
    refused = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class BatchSerializer(BatchSummarySerializer):
    counts = serializers.SerializerMethodField()

    class Meta(BatchSummarySerializer.Meta):
        fields = read_only_fields = [*BatchSummarySerializer.Meta.fields, "counts"]

    @extend_schema_field(BatchCountsSerializer)
    def get_counts(self, batch: Batch) -> dict[str, int]:
        return BatchCountsSerializer(progress(batch)).data


class BatchItemSerializer(serializers.ModelSerializer[BatchItem]):
    external_order_number = Text(source="draft_order.external_order_number", read_only=True)
    code = Text(read_only=True)
    message = Text(read_only=True)

    class Meta:
        model = BatchItem
        fields = read_only_fields = [
            "draft_order",
            "external_order_number",
            "outcome",
            "code",
            "message",
            "export",
            "finished_at",
        ]


class BatchPreviewSerializer(serializers.Serializer[BatchPreview]):
    """What a batch would be about. `eligible`: orders whose status allows the action."""

    action = serializers.ChoiceField(choices=Batch.Action.choices)
    total = serializers.IntegerField()
    eligible = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())


class NewBatchSerializer(StrictSerializer[Any]):
    """What is to be done with which orders: those named, or those that a filter finds.

    The context holds the `org`. Validated, `orders` is the queryset of them.
    """

    action = serializers.ChoiceField(choices=["push", "retry"])
    orders = BoundedListField(
        child=serializers.UUIDField(), required=False, min_length=1, max_length=MAX_BATCH_ORDERS
    )
    filter = serializers.DictField(
        required=False,
        allow_empty=False,
        help_text="The filters of the list of draft orders; a list where a filter may be repeated.",
    )

    def validate_orders(self, keys: list[UUID]) -> QuerySet[DraftOrder]:
        orders = DraftOrder.objects.filter(org=self.context["org"], id__in=keys)
        found = set(orders.values_list("id", flat=True))
        unknown = [str(n) for n, key in enumerate(keys) if key not in found]
        if unknown:
            raise serializers.ValidationError(dict.fromkeys(unknown, "There is no such order."))
        return orders

    def validate_filter(self, given: dict[str, Any]) -> QuerySet[DraftOrder]:
        data = QueryDict(mutable=True)
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) for one in values):
                raise serializers.ValidationError({name: "Enter a text, or a list of texts."})
            data.setlist(name, values)
        orders = DraftOrder.objects.filter(org=self.context["org"])
        try:
            return narrowed(orders, DraftOrderFilterSet, data)
        except WrongParameter as e:
            raise serializers.ValidationError(e.detail) from e

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if ("orders" in given) == ("filter" in given):
            raise serializers.ValidationError(_("Give either `orders` or `filter`, and not both."))
        orders = given["orders"] if "orders" in given else given["filter"]
        return {"action": given["action"], "orders": orders}
