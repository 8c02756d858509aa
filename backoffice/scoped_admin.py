"""What the admin classes of all apps are made of: org scoping, filters, confirmation pages."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime, RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, ForeignKey, Model, Q, QuerySet
from django.forms import BaseInlineFormSet, ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import User
from accounts.scoping import only_org, visible
from backoffice.list_admin import ListAdmin


def person(request: HttpRequest) -> User:
    """The user of a request to the admin, which lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def require(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied unless the user has the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied


def link(name: str, obj: Model) -> SafeString:
    """A link to the page of an object, under the name of that page's URL."""
    return format_html('<a href="{}">{}</a>', reverse(name, args=[obj.pk]), obj)


class DateAndTime(AdminSplitDateTime):
    """Tells its two fields apart for those who only hear them."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        for widget, name in zip(self.widgets, ("Date", "Time"), strict=True):
            widget.attrs["aria-label"] = name


class OrgScopedAdmin(ListAdmin):
    """Shows a user the objects of the user's orgs: in lists, under direct URLs and as choices.

    Foreign keys offer what the related model's own admin shows. An object never moves to another
    org. Nothing is deleted: what is no longer wanted is rejected, revoked or made inactive.
    """

    org_path = "org"
    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible(super().get_queryset(request), request.user, path=self.org_path)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without a column of orgs for whoever would see the same one in each row."""
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

    def object_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page of an object says besides its form."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context.update(self.object_context(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_or_404(self, request: HttpRequest, pk: object) -> Any:
        """The object if this user may see it. Raises Http404, PermissionDenied."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=pk)

    def page(
        self, request: HttpRequest, template: str, *, title: str, **context: Any
    ) -> TemplateResponse:
        """A page of this admin; `original` in the context is the object that it is about."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "media": self.media,
                "title": title,
                **context,
            },
        )

    def confirmation(
        self,
        request: HttpRequest,
        *,
        title: str,
        paragraphs: Iterable[str],
        submit: str,
        back: str,
        original: Model | None = None,
        template: str = "admin/confirm.html",
        **context: Any,
    ) -> TemplateResponse:
        """A page that says what a POST to this same address will do. It changes nothing itself.

        Context: `form` for what has to be entered, `hidden` pairs of names and values.
        """
        return self.page(
            request,
            template,
            title=title,
            paragraphs=paragraphs,
            submit=submit,
            back=back,
            original=original,
            **context,
        )


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


class LongText(forms.TextInput):
    """Shows a sentence or a file name whole."""

    def __init__(self) -> None:
        super().__init__({"size": 60})


class RadioList(forms.RadioSelect):
    """Choices with texts as long as the page is wide."""

    def __init__(self) -> None:
        super().__init__({"class": "radiolist"})


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=LongText, help_text="It is kept, with your name."
    )


class NamedRows(BaseInlineFormSet):  # type: ignore[type-arg]
    """Rows of fields that are named for those who only hear them, not just by the table's head."""

    def add_fields(self, form: "forms.ModelForm[Any]", index: int | None) -> None:
        super().add_fields(form, index)
        for field in form.fields.values():
            # Of a choice that can be added to, the wrapper does not pass on what it is told.
            is_wrapped = isinstance(field.widget, RelatedFieldWidgetWrapper)
            widget = field.widget.widget if is_wrapped else field.widget
            if not widget.is_hidden:
                widget.attrs["aria-label"] = field.label


class Inline(admin.TabularInline):  # type: ignore[type-arg]
    """A table of fields that may be wider than a phone: it scrolls by keyboard, too."""

    formset = NamedRows
    template = "admin/scrolled_inline.html"


class ReadOnlyAdmin(OrgScopedAdmin):
    """For histories: they are looked at, and their pages tell of themselves what was done."""

    is_history = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False


def freeze(field: forms.Field) -> None:
    """Show a choice that is made for good, without links to make or change what is chosen.

    Disabled rather than read-only: constraints that involve the field are then still checked.
    """
    field.disabled = True
    for link in ("can_add_related", "can_change_related", "can_delete_related"):
        setattr(field.widget, link, False)
