"""What a user may see and change: objects of the user's organisations, and histories read-only."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, ForeignKey, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from accounts.models import User
from accounts.scoping import only_org, visible
from backoffice.forms import DateAndTime, freeze
from backoffice.pages import PagesAdmin


def person(request: HttpRequest) -> User:
    """The user of a request to the admin, which lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def require(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied unless the user has the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied


class OrgScopedAdmin(PagesAdmin):
    """Shows a user the objects of the user's orgs: in lists, under direct URLs and as choices.

    Foreign keys offer what the related model's own admin shows. An object never moves to another
    org. Nothing is deleted: what is no longer wanted is rejected, revoked or made inactive.
    """

    org_path = "org"
    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible(super().get_queryset(request), request.user, path=self.org_path)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the column of organisations for users who would see the same one in each row."""
        columns = super().get_list_display(request)
        if "org" not in columns or not only_org(request.user):
            return columns
        return [name for name in columns if name != "org"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"org": only_org(request.user), **super().get_changeform_initial_data(request)}

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any]", request: HttpRequest, **kwargs: Any
    ) -> "ModelChoiceField[Any] | None":
        related = self.admin_site.get_model_admin(db_field.related_model)
        kwargs.setdefault("queryset", related.get_queryset(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: Any | None = None, change: bool = False, **kwargs: Any
    ) -> "type[forms.ModelForm[Any]]":
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is not None and "org" in form.base_fields:
            freeze(form.base_fields["org"])
        return form

    def has_delete_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False

    def get_or_404(self, request: HttpRequest, pk: object) -> Any:
        """The object if this user may see it. Raises Http404, PermissionDenied."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=pk)


class ReadOnlyAdmin(OrgScopedAdmin):
    """For histories: they are looked at, and their pages tell of themselves what was done."""

    is_history = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False
