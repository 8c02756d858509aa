"""The filters of the list of connections."""

from django.db.models import Q
from django_filters import rest_framework as filters

from api.filtering import BooleanFilter, ConditionFilter, CreatedAndUpdatedFilterSet
from connectors import registry


class ErpConnectionFilterSet(CreatedAndUpdatedFilterSet):
    connector_type = filters.ChoiceFilter(choices=registry.choices())
    active = BooleanFilter()
    paused = ConditionFilter(Q(paused_at__isnull=False))
