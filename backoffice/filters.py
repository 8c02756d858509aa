"""Filters of lists: by named conditions, and by related objects that the user may see."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest


class ConditionFilter(admin.SimpleListFilter):
    """A filter by conditions, each with the word for it in the URL."""

    conditions: ClassVar[Mapping[str, Q]]

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [(word, word.capitalize()) for word in self.conditions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.conditions.get(self.value() or "", Q()))


class VisibleFieldListFilter(admin.RelatedFieldListFilter):
    """Offers the related objects that the user may see, also those without rows in the list."""

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self._sees_all = request.user.is_superuser
        super().__init__(field, request, *args, **kwargs)
        self.title = field.related_model._meta.verbose_name

    @property
    def include_empty_choice(self) -> bool:
        # Only superusers see objects without an organisation.
        return self._sees_all and super().include_empty_choice

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, Any]]:
        related: Any = model_admin.admin_site.get_model_admin(field.related_model)
        shown = related.get_queryset(request).select_related(*(related.list_select_related or ()))
        return [(str(obj.pk), str(obj)) for obj in shown]
