"""What a user may see and change: objects of the user's organisations, and histories read-only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, ForeignKey, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from accounts.scoping import only_org, visible
from backoffice.actions import Button, ObjectAction
from backoffice.csv_lists import csv_view
from backoffice.forms import DateAndTime, freeze
from backoffice.lists import ListAdmin, M
from backoffice.pages import Page
from backoffice.permissions import person
from kernel.errors import RuleViolation


class OrgScopedAdmin(ListAdmin[M]):
    """Shows a user the objects of the user's orgs: in lists, under direct URLs and as choices.

    Foreign keys offer what the related model's own admin shows. An object never moves to another
    org. Objects are not deleted: they are rejected, revoked or made inactive.
    """

    org_path = "org"
    pages: ClassVar[Sequence[Page]] = ()
    object_actions: ClassVar[Sequence[ObjectAction[Any]]] = ()
    # The list can be downloaded with these columns.
    csv_columns: ClassVar[Mapping[str, Callable[[Any], object]]] = {}
    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}

    def get_urls(self) -> list[URLPattern]:
        pages = [*self.pages, *(action.page for action in self.object_actions)]
        if self.csv_columns:
            pages.append(Page(name="csv", route="csv/", view=csv_view))
        return [
            *(
                path(
                    page.route,
                    self.admin_site.admin_view(partial(page.view, self)),
                    name=f"{self.opts.app_label}_{self.opts.model_name}_{page.name}",
                )
                for page in pages
            ),
            *super().get_urls(),
        ]

    def object_context(self, request: HttpRequest, obj: M) -> dict[str, Any]:
        """What the page of an object shows besides its form."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: M | None = None,
    ) -> HttpResponse:
        if obj is not None:
            # A form with errors has already changed the object.
            shown = self.get_queryset(request).get(pk=obj.pk) if request.method == "POST" else obj
            context["buttons"] = self.buttons(request, shown)
            context.update(self.object_context(request, shown))
        return super().render_change_form(request, context, add, change, form_url, obj)

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except RuleViolation as e:
            # The object has changed between the opening and the saving of the form.
            self.message_user(request, e.message, messages.ERROR)
            return redirect(request.path)

    def buttons(self, request: HttpRequest, obj: M) -> list[Button]:
        """What this person can do with the object now."""
        drawn = (action.button(obj, person(request)) for action in self.object_actions)
        return [button for button in drawn if button]

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        return visible(super().get_queryset(request), request.user, path=self.org_path)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the column of organisations for users who would see the same one in each row."""
        columns = super().get_list_display(request)
        if "organisation" not in columns or not only_org(request.user):
            return columns
        return [name for name in columns if name != "organisation"]

    @admin.display(description=_("organisation"), ordering="org")
    def organisation(self, obj: Any) -> str:
        return str(obj.org or self.get_empty_value_display())

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"org": only_org(request.user), **super().get_changeform_initial_data(request)}

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any]", request: HttpRequest, **kwargs: Any
    ) -> "ModelChoiceField[Any] | None":
        related = self.admin_site.get_model_admin(db_field.related_model)
        kwargs.setdefault("queryset", related.get_queryset(request))
        if db_field.name == "org":
            kwargs.setdefault("label", _("Organisation"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: M | None = None, change: bool = False, **kwargs: Any
    ) -> "type[forms.ModelForm[M]]":
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is not None and "org" in form.base_fields:
            freeze(form.base_fields["org"])
        return form

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def get_or_404(self, request: HttpRequest, pk: object) -> M:
        """The object if this user may see it. Raises Http404, PermissionDenied."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=pk)


class ReadOnlyAdmin(OrgScopedAdmin[M]):
    """For histories: people only look at them, and their pages have no Django history of edits."""

    is_history = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False
