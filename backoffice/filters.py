"""Filters of lists: by conditions under a word, and by related objects that the user may see."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest


class ConditionFilter(admin.SimpleListFilter):
    """A filter of a list by conditions, each under the word that stands in the URL."""

    conditions: ClassVar[Mapping[str, Q]]

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [(word, word.capitalize()) for word in self.conditions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.conditions.get(self.value() or "", Q()))


class VisibleFieldListFilter(admin.RelatedFieldListFilter):
    """Offers what the user may see of the related model, whether or not the list has any of it."""

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self._sees_all = request.user.is_superuser
        super().__init__(field, request, *args, **kwargs)
        self.title = field.related_model._meta.verbose_name

    @property
    def include_empty_choice(self) -> bool:
        # What belongs to nothing that one can be a member of is for superusers.
        return self._sees_all and super().include_empty_choice

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, Any]]:
        related: Any = model_admin.admin_site.get_model_admin(field.related_model)
        shown = related.get_queryset(request).select_related(*(related.list_select_related or ()))
        return [(str(obj.pk), str(obj)) for obj in shown]
