"""The filters of the list of draft orders."""

from django_filters import rest_framework as filters

from api.filtering import CreatedAndUpdatedFilterSet, MultipleChoiceFilter
from orders.models import DraftOrder


class DraftOrderFilterSet(CreatedAndUpdatedFilterSet):
    status = MultipleChoiceFilter(choices=DraftOrder.Status.choices)
    external_order_number = filters.CharFilter()
    customer = filters.UUIDFilter("customer_id")
    erp_customer_number = filters.CharFilter(
        "customer__erp_customer_number", method="filter_within_org"
    )
