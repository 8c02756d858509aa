"""The admin of users, organisations and API tokens."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import DateTimeField, ForeignKey, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.audit import Action
from accounts.models import ApiToken, AuditEntry, Membership, Org, User
from accounts.tokens import LIFETIME, create_token, revoke_token
from backoffice.accounts.audit_log import AuditEntryAdmin
from backoffice.filters import VisibleFieldListFilter
from backoffice.forms import DateAndTime, Inline
from backoffice.lists import ListAdmin, M
from backoffice.pages import confirmation, draw
from backoffice.permissions import person
from backoffice.scoping import OrgScopedAdmin

admin.site.register(AuditEntry, AuditEntryAdmin)
admin.site.unregister(Group)

_OF_USERS: Final = (
    "username",
    "email",
    "first_name",
    "last_name",
    "is_active",
    "is_staff",
    "is_superuser",
)


class RecordedAdmin(ListAdmin[M]):
    """Records who creates and changes objects, and the values that `described` returns."""

    def described(self, obj: M) -> dict[str, Any]:
        raise NotImplementedError

    def save_model(
        self, request: HttpRequest, obj: Any, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        stored = self.model._default_manager.get(pk=obj.pk) if change else None
        obj.before = self.described(stored) if stored else {}
        super().save_model(request, obj, form, change)

    def save_related(
        self,
        request: HttpRequest,
        form: "forms.ModelForm[Any]",
        formsets: Sequence[Any],
        change: bool,
    ) -> None:
        super().save_related(request, form, formsets, change)
        obj: Any = form.instance
        before, after = audit.differences(obj.before, self.described(obj))
        if before or after:
            action = Action(f"{self.opts.model_name}.{'changed' if change else 'created'}")
            audit.record(action, obj, actor=person(request), before=before, after=after)


class MembershipInline(Inline):
    model = Membership
    extra = 1


@admin.register(User)
class UserAdmin(RecordedAdmin[User], DjangoUserAdmin):  # type: ignore[type-arg]
    """For superusers only: a person who may set permissions could take any of them.

    Users are not deleted but made inactive, because histories name them.
    """

    formfield_overrides = {DateTimeField: {"widget": DateAndTime}}
    inlines = (MembershipInline,)
    list_display = ("username", "email", "first_name", "last_name", "is_active", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups", "orgs")

    def described(self, obj: User) -> dict[str, Any]:
        return {
            **{name: getattr(obj, name) for name in _OF_USERS},
            "groups": sorted(group.name for group in obj.groups.all()),
            "permissions": _codes(obj.user_permissions.all()),
            "orgs": sorted(org.slug for org in obj.orgs.all()),
        }

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        with transaction.atomic():
            user = self.get_object(request, unquote(id))
            response = super().user_change_password(request, id, form_url)
            if user and user.password != User.objects.get(pk=user.pk).password:
                audit.record(Action.PASSWORD_CHANGED, user, actor=person(request))
        return response

    def _is_superuser(self, request: HttpRequest, obj: User | None = None) -> bool:
        return request.user.is_superuser

    has_module_permission = has_add_permission = _is_superuser
    has_view_permission = has_change_permission = _is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(RecordedAdmin[Group], DjangoGroupAdmin):
    def described(self, obj: Group) -> dict[str, Any]:
        return {"name": obj.name, "permissions": _codes(obj.permissions.all())}

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        before = self.described(obj)
        audit.record(Action.GROUP_DELETED, obj, actor=person(request), before=before)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        with transaction.atomic():
            for group in queryset:
                self.delete_model(request, group)


@admin.register(Org)
class OrgAdmin(RecordedAdmin[Org], OrgScopedAdmin[Org]):
    org_path = "id"
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    prepopulated_fields = {"slug": ("name",)}
    fieldsets = (
        (None, {"fields": ("name", "slug")}),
        (
            _("Days to keep finished exports"),
            {
                "fields": (
                    "keep_payloads_days",
                    "keep_archive_days",
                    "keep_events_days",
                    "keep_acks_days",
                )
            },
        ),
    )

    def described(self, obj: Org) -> dict[str, Any]:
        return {name: getattr(obj, name) for name in flatten_fieldsets(self.fieldsets)}


def _codes(permissions: QuerySet[Permission]) -> list[str]:
    names = permissions.values_list("content_type__app_label", "codename")
    return sorted(f"{app}.{code}" for app, code in names)


class ApiTokenForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        user, org, expires_at = data.get("user"), data.get("org"), data.get("expires_at")
        if user and org and not user.memberships.filter(org=org).exists():
            self.add_error(
                "org",
                gettext("%(user)s is not a member of %(org)s: the token would not work.")
                % {"user": user, "org": org},
            )
        if expires_at and expires_at <= timezone.now():
            self.add_error("expires_at", gettext("Enter a time in the future."))
        return data


@admin.register(ApiToken)
class ApiTokenAdmin(OrgScopedAdmin[ApiToken]):
    form = ApiTokenForm
    fields = ("user", "org", "name", "expires_at")
    list_display = (
        "prefix",
        "name",
        "user",
        "organisation",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = (("org", VisibleFieldListFilter),)
    list_select_related = ("user", "org")
    search_fields = ("prefix", "name", "user__username")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        if obj is None:
            return self.fields
        return ("prefix", *self.list_display[1:], "created_at")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"expires_at": timezone.now() + LIFETIME, **initial}

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any]", request: HttpRequest, **kwargs: Any
    ) -> "ModelChoiceField[Any] | None":
        # A token acts as its user: a person must not create one for a user with more permissions.
        if db_field.name == "user" and not person(request).is_superuser:
            kwargs["queryset"] = User.objects.filter(pk=person(request).pk)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        token, text = create_token(
            obj.user,
            org=obj.org,
            name=obj.name,
            expires_at=obj.expires_at,
            actor=person(request),
        )
        obj.pk, obj.prefix = token.pk, token.prefix
        obj.text = text  # type: ignore[attr-defined]  # for response_add

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        # Not a redirect: only this response has the text.
        return draw(
            self,
            request,
            "admin/accounts/apitoken/made.html",
            title=gettext("New API token"),
            token=obj,
            text=obj.text,  # type: ignore[attr-defined]
        )

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_revoke_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apitoken")

    @admin.action(description=_("Revoke selected API tokens"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        tokens = list(queryset.select_related("user", "org"))
        if "confirmed" not in request.POST:
            return confirmation(
                self,
                request,
                title=gettext("Revoke API tokens"),
                sentences=[gettext("These tokens stop working now. This cannot be undone:")],
                items=[
                    gettext("%(token)s of %(user)s in %(org)s")
                    % {"token": token, "user": token.user, "org": token.org}
                    for token in tokens
                ],
                hidden=[
                    ("action", "revoke"),
                    ("confirmed", "yes"),
                    *((ACTION_CHECKBOX_NAME, token.pk) for token in tokens),
                ],
                submit=gettext("Revoke"),
                back=reverse("admin:accounts_apitoken_changelist"),
            )
        for token in tokens:
            if revoke_token(token, actor=person(request)):
                self.log_change(request, token, "Revoked.")
                message = gettext("%(token)s was revoked.") % {"token": token}
                self.message_user(request, message, messages.SUCCESS)
            else:
                message = gettext("%(token)s was revoked already.") % {"token": token}
                self.message_user(request, message, messages.WARNING)
        return None
