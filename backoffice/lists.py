"""Lists of the admin. Their cost is bounded for every address."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from django.contrib import admin
from django.contrib.admin.options import (
    IS_FACETS_VAR,
    IS_POPUP_VAR,
    TO_FIELD_VAR,
    IncorrectLookupParameters,
)
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import (
    ALL_VAR,
    ERROR_FLAG,
    ORDER_VAR,
    PAGE_VAR,
    SEARCH_VAR,
    ChangeList,
)
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import DateField, Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext

from backoffice.searching import validate_search

M = TypeVar("M", bound=Model)

# Parameters of every list that are not filters.
_OF_LISTS: Final = {
    ALL_VAR,
    ERROR_FLAG,
    IS_FACETS_VAR,
    IS_POPUP_VAR,
    ORDER_VAR,
    PAGE_VAR,
    SEARCH_VAR,
    TO_FIELD_VAR,
}
_NAME_SHOWN: Final = 100  # characters


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs alone
    """Counts and pages up to MOST rows, so that a list of a large table is not slow."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return self.object_list.order_by()[: self.MOST].count()


class BoundedChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.is_cut = self.result_count == BoundedPaginator.MOST
        if self.is_cut:
            # The search bar then shows no number of results.
            self.full_result_count = self.result_count


if TYPE_CHECKING:

    class _ModelAdmin(admin.ModelAdmin[M]): ...

else:
    # Django's own class is generic only in the stubs.
    class _ModelAdmin(admin.ModelAdmin, Generic[M]): ...


class ListAdmin(_ModelAdmin[M]):
    """The base of every admin class: its list, and what reads the list, like CSV.

    Django filters by any lookup on any field: one `?notes__regex=` would keep the database busy for
    minutes. Here a list accepts only the parameters of its `list_filter` and the fields in
    `linked_by`, with which pages of this project link to it.
    """

    linked_by: ClassVar[tuple[str, ...]] = ()
    changelist_class: ClassVar[type[ChangeList]] = BoundedChangeList
    paginator = BoundedPaginator
    show_full_result_count = False
    # Facets count the whole table for each choice of each filter.
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return self.changelist_class

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Raises BadRequest, before any query, for an unknown parameter or too long a search."""
        if unknown := request.GET.keys() - _OF_LISTS - self.filter_parameters(request):
            raise BadRequest(
                gettext(
                    "This list has no filter “%(name)s”. Open the list again and choose one of "
                    "its filters."
                )
                % {"name": min(unknown)[:_NAME_SHOWN]}
            )
        _check_search(request.GET.get(SEARCH_VAR, ""))
        try:
            return super().get_changelist_instance(request)
        except (OverflowError, DataError) as e:
            # The database cannot hold the value. Django then shows the list without filters.
            raise IncorrectLookupParameters from e

    def filter_parameters(self, request: HttpRequest) -> set[str]:
        """The names of the parameters by which the list can be filtered."""
        return {
            *self.linked_by,
            *(
                name
                for entry in self.get_list_filter(request)
                for name in _parameters(self.model, entry)
            ),
        }

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.filter_parameters(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        # The choices of a field are searched without a list.
        _check_search(search_term)
        return super().get_search_results(request, queryset, search_term)


def _check_search(text: str) -> None:
    try:
        validate_search(text)
    except ValidationError as e:
        raise BadRequest(e.message) from e


def _parameters(model: type[Model], entry: Any) -> Iterable[str]:
    """The parameters of an entry of `list_filter`.

    The filter itself knows them too, but reads its choices from the database first.
    """
    if isinstance(entry, type):
        return [entry.parameter_name]  # type: ignore[attr-defined]  # of a SimpleListFilter
    path, kind = (entry, None) if isinstance(entry, str) else entry
    field: Any = get_fields_from_path(model, path)[-1]
    if kind is admin.EmptyFieldListFilter:
        lookups = ["isempty"]
    elif field.is_relation:
        lookups = [f"{field.target_field.name}__exact", "isnull"]
    elif isinstance(field, DateField):
        lookups = ["gte", "lt", *(["isnull"] if field.null else [])]
    else:
        lookups = ["exact", "isnull"]
    return [f"{path}__{lookup}" for lookup in lookups]
