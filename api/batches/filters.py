"""The filters of the lists of batches and of their items."""

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from api.filtering import BooleanFilter, MomentFilter, MultipleChoiceFilter
from exports.models import Batch, BatchItem


class BatchFilterSet(filters.FilterSet):
    action = MultipleChoiceFilter(choices=Batch.Action.choices)
    finished = BooleanFilter(method="filter_finished")
    created_after = MomentFilter("created_at", "gte")
    created_before = MomentFilter("created_at", "lt")

    def filter_finished(
        self, queryset: QuerySet[Batch], name: str, is_finished: bool
    ) -> QuerySet[Batch]:
        return queryset.filter(finished_at__isnull=not is_finished)


class BatchItemFilterSet(filters.FilterSet):
    outcome = MultipleChoiceFilter(choices=BatchItem.Outcome.choices)
    draft_order = filters.UUIDFilter("draft_order_id")
