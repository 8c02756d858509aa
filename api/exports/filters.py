"""By what exports, answers and batches are found through the API."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from api.filtering import AnyOfFilter, CreatedAndUpdatedFilterSet, MomentFilter, TrueOrFalseFilter
from exports.models import Batch, BatchItem, ErpAck, ErpExport


class ErpExportFilterSet(CreatedAndUpdatedFilterSet):
    status = AnyOfFilter(choices=ErpExport.Status.choices)
    draft_order = filters.UUIDFilter("draft_order_id")
    external_order_number = filters.CharFilter(
        "draft_order__external_order_number", method="filter_within_org"
    )
    customer = filters.UUIDFilter("draft_order__customer", method="filter_within_org")
    erp_customer_number = filters.CharFilter(
        "draft_order__customer__erp_customer_number", method="filter_within_org"
    )
    erp_connection = filters.UUIDFilter("erp_connection_id")
    filename = filters.CharFilter()
    erp_order_id = filters.CharFilter()
    overdue = TrueOrFalseFilter(method="filter_overdue")

    def filter_overdue(
        self, queryset: QuerySet[ErpExport], name: str, is_overdue: bool
    ) -> QuerySet[ErpExport]:
        if is_overdue:
            return queryset.filter(ErpExport.OVERDUE)
        return queryset.exclude(ErpExport.OVERDUE)


class ErpAckFilterSet(filters.FilterSet):
    verdict = AnyOfFilter(choices=ErpAck.Verdict.choices)
    export = filters.UUIDFilter("export_id")
    erp_connection = filters.UUIDFilter("erp_connection_id")
    open = TrueOrFalseFilter(method="filter_open")
    seen_after = MomentFilter("seen_at", "gte")
    seen_before = MomentFilter("seen_at", "lt")

    def filter_open(self, queryset: QuerySet[ErpAck], name: str, is_open: bool) -> QuerySet[ErpAck]:
        return queryset.filter(ErpAck.OPEN) if is_open else queryset.exclude(ErpAck.OPEN)


class BatchFilterSet(filters.FilterSet):
    action = AnyOfFilter(choices=Batch.Action.choices)
    finished = TrueOrFalseFilter(method="filter_finished")
    created_after = MomentFilter("created_at", "gte")
    created_before = MomentFilter("created_at", "lt")

    def filter_finished(
        self, queryset: QuerySet[Batch], name: str, is_finished: bool
    ) -> QuerySet[Batch]:
        return queryset.filter(finished_at__isnull=not is_finished)


class BatchItemFilterSet(filters.FilterSet):
    outcome = AnyOfFilter(choices=BatchItem.Outcome.choices)
    draft_order = filters.UUIDFilter("draft_order_id")
