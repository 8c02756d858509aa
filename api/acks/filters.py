"""The filters of the list of acks."""

from django_filters import rest_framework as filters

from api.filtering import ConditionFilter, MomentFilter, MultipleChoiceFilter
from exports.models import ErpAck


class ErpAckFilterSet(filters.FilterSet):
    classification = MultipleChoiceFilter(choices=ErpAck.Classification.choices)
    export = filters.UUIDFilter("export_id")
    erp_connection = filters.UUIDFilter("erp_connection_id")
    open = ConditionFilter(ErpAck.OPEN)
    seen_after = MomentFilter("seen_at", "gte")
    seen_before = MomentFilter("seen_at", "lt")
