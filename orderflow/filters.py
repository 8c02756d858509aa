"""Filters of lists. A parameter that means nothing is refused, so that no typo widens a list."""

from typing import Any, Final

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.filterset import BaseFilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from orderflow.pagination import SINCE
from orderflow.problems import WrongParameter

_OF_PAGES: Final = {"cursor", "page_size", "ordering"}


class StrictFilterBackend(BaseFilterBackend):
    """Applies the view's `filterset_class` to its list."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        filterset: BaseFilterSet = view.filterset_class(request.query_params, queryset)
        known = {*filterset.filters, *_OF_PAGES, *([SINCE] if view.has_changes else [])}
        if unknown := request.query_params.keys() - known:
            raise WrongParameter(dict.fromkeys(sorted(unknown), "There is no such parameter."))
        if not filterset.is_valid():
            raise WrongParameter(filterset.errors)
        filtered: QuerySet[Any] = filterset.qs
        return filtered


class AnyOfFilter(filters.MultipleChoiceFilter):
    """One of several words, each given by a parameter of its own: `status=READY&status=ERROR`."""

    def __init__(self, **kwargs: Any) -> None:
        # DISTINCT would sort the whole list for each page.
        super().__init__(distinct=False, **kwargs)


@extend_schema_field(OpenApiTypes.BOOL)
class TrueOrFalseFilter(filters.TypedChoiceFilter):
    def __init__(self, **kwargs: Any) -> None:
        words = {"true": True, "false": False}
        super().__init__(choices=[(word, word) for word in words], coerce=words.get, **kwargs)


class CreatedAndUpdatedFilterSet(filters.FilterSet):
    created_after = filters.IsoDateTimeFilter("created_at", "gte")
    created_before = filters.IsoDateTimeFilter("created_at", "lt")
    updated_after = filters.IsoDateTimeFilter("updated_at", "gte")
    updated_before = filters.IsoDateTimeFilter("updated_at", "lt")
