"""The filters of the list of exports."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from api.filtering import BooleanFilter, CreatedAndUpdatedFilterSet, MultipleChoiceFilter
from exports.models import ErpExport


class ErpExportFilterSet(CreatedAndUpdatedFilterSet):
    status = MultipleChoiceFilter(choices=ErpExport.Status.choices)
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
    overdue = BooleanFilter(method="filter_overdue")

    def filter_overdue(
        self, queryset: QuerySet[ErpExport], name: str, is_overdue: bool
    ) -> QuerySet[ErpExport]:
        if is_overdue:
            return queryset.filter(ErpExport.OVERDUE)
        return queryset.exclude(ErpExport.OVERDUE)
