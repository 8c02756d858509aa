"""The filters of the list of connections."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from api.filtering import BooleanFilter, CreatedAndUpdatedFilterSet
from connectors import registry
from connectors.models import ErpConnection


class ErpConnectionFilterSet(CreatedAndUpdatedFilterSet):
    connector_type = filters.ChoiceFilter(choices=registry.choices())
    active = BooleanFilter()
    paused = BooleanFilter(method="filter_paused")

    def filter_paused(
        self, queryset: QuerySet[ErpConnection], name: str, is_paused: bool
    ) -> QuerySet[ErpConnection]:
        return queryset.filter(paused_at__isnull=not is_paused)
