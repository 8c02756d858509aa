"""Filters of lists: an unknown or empty parameter is an error, so that no typo widens a list."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import F, Model, Q, QuerySet
from django.http import QueryDict
from django_filters import rest_framework as filters
from django_filters.constants import EMPTY_VALUES
from django_filters.filterset import BaseFilterSet
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from api.pagination import NOT_A_DATETIME, SINCE, parse_iso_datetime
from api.serializers import NOT_BLANK
from kernel.problems import WrongParameter

M = TypeVar("M", bound=Model)

# A change may bear the time of a transaction that began before the one that created the row.
_SLACK: Final = timedelta(days=1)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + _SLACK
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - _SLACK
_OF_PAGES: Final = {"cursor", "page_size", "ordering"}


def narrowed(
    queryset: QuerySet[M],
    filterset_class: type[BaseFilterSet],
    given: QueryDict,
    *,
    besides: Collection[str] = (),
) -> QuerySet[M]:
    """Return what the given filters leave; `besides` are parameters that are no filters.

    Raises WrongParameter: nothing that was meant to narrow is passed over.
    """
    filterset: BaseFilterSet = filterset_class(given, queryset)
    if unknown := given.keys() - filterset.filters.keys() - set(besides):
        raise WrongParameter(dict.fromkeys(sorted(unknown), "There is no such parameter."))
    empty = [
        name for name, values in given.lists() if not values or not all(map(str.strip, values))
    ]
    if empty:
        raise WrongParameter(dict.fromkeys(empty, "Give it a value, or leave it out."))
    repeated = [
        name
        for name, values in given.lists()
        if len(values) > 1 and not isinstance(filterset.filters.get(name), MultipleChoiceFilter)
    ]
    if repeated:
        raise WrongParameter(dict.fromkeys(repeated, "Give it one value."))
    if not filterset.is_valid():
        raise WrongParameter(filterset.errors)
    found: QuerySet[M] = filterset.qs
    return found


class StrictFilterBackend(BaseFilterBackend):
    """Applies the view's `filterset_class` to its list."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        besides = {*_OF_PAGES, *([SINCE] if view.has_changes else [])}
        return narrowed(queryset, view.filterset_class, request.query_params, besides=besides)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "description": declared.extra.get("help_text", ""),
                "schema": _value(declared),
            }
            for name, declared in view.filterset_class.base_filters.items()
        ]


def _value(declared: filters.Filter) -> dict[str, Any]:
    """What a filter takes, as JSON Schema."""
    match declared:
        case BooleanFilter():
            return {"type": "boolean"}
        case filters.MultipleChoiceFilter():
            return {"type": "array", "items": _one_of(declared)}
        case filters.ChoiceFilter():
            return _one_of(declared)
        case filters.UUIDFilter():
            return {"type": "string", "format": "uuid"}
        case MomentFilter():
            return {"type": "string", "format": "date-time"}
    return {"type": "string", "pattern": NOT_BLANK}


def _one_of(declared: filters.ChoiceFilter | filters.MultipleChoiceFilter) -> dict[str, Any]:
    return {"type": "string", "enum": [choice for choice, _ in declared.extra["choices"]]}


class MultipleChoiceFilter(filters.MultipleChoiceFilter):
    """One of several words, each given by a parameter of its own: `status=READY&status=ERROR`."""

    def __init__(self, **kwargs: Any) -> None:
        # DISTINCT would sort the whole list for each page.
        super().__init__(distinct=False, **kwargs)


class BooleanFilter(filters.TypedChoiceFilter):
    def __init__(self, **kwargs: Any) -> None:
        words = {"true": True, "false": False}
        super().__init__(choices=[(word, word) for word in words], coerce=words.get, **kwargs)


class ConditionFilter(BooleanFilter):
    """The rows that meet a condition, or those that do not."""

    def __init__(self, condition: Q) -> None:
        super().__init__()
        self._condition = condition

    def filter(self, queryset: QuerySet[Any], value: bool | str) -> QuerySet[Any]:
        if value in EMPTY_VALUES:
            return queryset
        return queryset.filter(self._condition) if value else queryset.exclude(self._condition)


class MomentField(forms.Field):
    def to_python(self, value: str | None) -> datetime | None:
        try:
            return parse_iso_datetime(value) if value else None
        except ValueError as e:
            raise ValidationError(NOT_A_DATETIME) from e


class MomentFilter(filters.Filter):
    field_class = MomentField


class CreatedAndUpdatedFilterSet(filters.FilterSet):
    created_after = MomentFilter(method="filter_created_after")
    created_before = MomentFilter("created_at", "lt")
    updated_after = MomentFilter("updated_at", "gte")
    updated_before = MomentFilter(method="filter_updated_before")

    def filter_within_org(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        """The method of filters by what belongs to a related object: that is of the same org.

        The database cannot know it; told so, it enters the indexes that begin with the org.
        """
        related, _, _ = name.rpartition("__")
        return queryset.filter(**{name: value, f"{related}__org": F("org")})

    # Nothing is changed before it is created. So each of these says something about the other time
    # too, by which the list may be ordered: without that it would be read from its far end.
    def filter_created_after(
        self, queryset: QuerySet[Any], name: str, at: datetime
    ) -> QuerySet[Any]:
        return queryset.filter(created_at__gte=at, updated_at__gte=max(at, _EARLIEST) - _SLACK)

    def filter_updated_before(
        self, queryset: QuerySet[Any], name: str, at: datetime
    ) -> QuerySet[Any]:
        return queryset.filter(updated_at__lt=at, created_at__lt=min(at, _LATEST) + _SLACK)
