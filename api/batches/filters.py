"""The filters of the lists of batches and of their items."""

from django.db.models import Q
from django_filters import rest_framework as filters

from api.filtering import ConditionFilter, MomentFilter, MultipleChoiceFilter
from exports.models import Batch, BatchItem


class BatchFilterSet(filters.FilterSet):
    action = MultipleChoiceFilter(choices=Batch.Action.choices)
    finished = ConditionFilter(Q(finished_at__isnull=False))
    created_after = MomentFilter("created_at", "gte")
    created_before = MomentFilter("created_at", "lt")


class BatchItemFilterSet(filters.FilterSet):
    outcome = MultipleChoiceFilter(choices=BatchItem.Outcome.choices)
    draft_order = filters.UUIDFilter("draft_order_id")
