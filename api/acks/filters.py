"""The filters of the list of acks."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from api.filtering import BooleanFilter, MomentFilter, MultipleChoiceFilter
from exports.models import ErpAck


class ErpAckFilterSet(filters.FilterSet):
    classification = MultipleChoiceFilter(choices=ErpAck.Classification.choices)
    export = filters.UUIDFilter("export_id")
    erp_connection = filters.UUIDFilter("erp_connection_id")
    open = BooleanFilter(method="filter_open")
    seen_after = MomentFilter("seen_at", "gte")
    seen_before = MomentFilter("seen_at", "lt")

    def filter_open(self, queryset: QuerySet[ErpAck], name: str, is_open: bool) -> QuerySet[ErpAck]:
        return queryset.filter(ErpAck.OPEN) if is_open else queryset.exclude(ErpAck.OPEN)
