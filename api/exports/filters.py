"""The filters of the list of exports."""

from django_filters import rest_framework as filters

from api.filtering import ConditionFilter, CreatedAndUpdatedFilterSet, MultipleChoiceFilter
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
    overdue = ConditionFilter(ErpExport.OVERDUE)
