"""The admin of the audit log: entries by action, person, object and time; before and after; CSV."""

import json
import re
from typing import Any, Final

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.audit import Action, codes_of
from accounts.models import AuditEntry, User
from accounts.scoping import visible_orgs
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.scoping import ReadOnlyAdmin

_KINDS: Final = {
    "orders.draftorder": "order",
    "exports.erpexport": "export",
    "exports.erpack": "ack",
    "exports.batch": "batch",
    "connectors.erpconnection": "connection",
    "notifications.webhook": "webhook",
    "accounts.apitoken": "token",
    "accounts.user": "user",
    "auth.group": "group",
    "accounts.org": "organisation",
}
_DAY: Final = len("2026-01-31")


class ActionFilter(ConditionFilter):
    title = _("action")
    parameter_name = "action"
    template = "admin/closed_filter.html"
    conditions = {code: Q(action__in=codes_of(code)) for code in sorted(Action.values)}

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [(code, code) for code in self.conditions]


class About(ConditionFilter):
    title = _("object")
    parameter_name = "about"
    conditions = {word: Q(object_type=label) for label, word in _KINDS.items()}


class ActorFilter(admin.RelatedFieldListFilter):
    """Offers the people of the organisations that the reader may see."""

    template = "admin/closed_filter.html"

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, Any]]:
        people = User.objects.filter(orgs__in=visible_orgs(request.user)).distinct()
        return [(str(user.pk), user.contact) for user in people.order_by("username")]


class Period(admin.DateFieldListFilter):
    """Offers a period between any two days, too."""

    template = "admin/period_filter.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given: dict[str, Any] = self.used_parameters
        # The days of the form. An empty day does not limit the list.
        self.used_parameters = {
            name: [f"{days[-1]} 00:00Z" if len(days[-1]) == _DAY else days[-1]]
            for name, days in given.items()
            if days[-1]
        }

    def choices(self, changelist: Any) -> Any:
        own = self.expected_parameters()
        self.since, self.until = (self.date_params.get(str(name), "")[:_DAY] for name in own)
        self.others = [(n, v) for n, v in changelist.params.items() if n not in own]
        return super().choices(changelist)


class AuditEntryAdmin(ReadOnlyAdmin[AuditEntry]):
    list_display = ("at", "by", "present_action", "about", "organisation", "address")
    list_filter = (
        ("at", Period),
        About,
        ("org", VisibleFieldListFilter),
        ActionFilter,
        ("actor", ActorFilter),
    )
    # The page of an object links to its log with these.
    linked_by = ("object_type", "object_id")
    list_select_related = ("org",)
    list_per_page = 50
    search_fields = ("object_label", "actor_name", "=object_id", "=request_id", "=address")
    search_help_text = _("Object or name of a person; complete address, object id or request id")
    fields = (
        "at",
        "actor_or_system",
        "address",
        "request_id",
        "present_action",
        "object",
        "organisation",
        "changes",
    )
    csv_columns = {
        "time": lambda entry: entry.at,
        "by": lambda entry: entry.actor_name,
        "address": lambda entry: entry.address,
        "request id": lambda entry: entry.request_id,
        "action": lambda entry: entry.present_action,
        "organisation": lambda entry: entry.org and str(entry.org),
        "type": lambda entry: entry.object_type,
        "object": lambda entry: entry.object_label,
        "object id": lambda entry: entry.object_id,
        "before": lambda entry: _as_text(entry.before),
        "after": lambda entry: _as_text(entry.after),
    }

    def get_fields(self, request: HttpRequest, obj: AuditEntry | None = None) -> Any:
        if obj is not None and self._may_open(request, obj):
            return self.fields
        return ["about" if name == "object" else name for name in self.fields]

    def _may_open(self, request: HttpRequest, entry: AuditEntry) -> bool:
        """Whether the reader may open the page of the object."""
        try:
            model = apps.get_model(entry.object_type)
            return self.admin_site.get_model_admin(model).has_view_permission(request)
        except (LookupError, ValueError, NotRegistered):
            return False

    @admin.display(description=_("by"))
    def actor_or_system(self, entry: AuditEntry) -> str:
        return entry.actor_name or "-"

    def by(self, entry: AuditEntry) -> SafeString:
        return _breakable(self.actor_or_system(entry))

    @admin.display(description=_("action"))
    def present_action(self, entry: AuditEntry) -> SafeString:
        return _breakable(entry.present_action)

    def about(self, entry: AuditEntry) -> str:
        if not entry.object_type:
            return "-"
        kind = _KINDS.get(entry.object_type, entry.object_type)
        return format_html('{} <span class="quiet">{}</span>', entry.object_label, kind)

    @admin.display(description=_("object"))
    def object(self, entry: AuditEntry) -> SafeString:
        page = f"admin:{entry.object_type.replace('.', '_')}_change"
        url = reverse(page, args=[entry.object_id])
        return format_html('<a href="{}">{}</a>', url, entry.object_label)

    def changes(self, entry: AuditEntry) -> SafeString | str:
        names = [*entry.before, *(name for name in entry.after if name not in entry.before)]
        if not names:
            return "-"
        return format_html(
            '<table class="changes"><thead><tr><th></th><th scope="col">{}</th>'
            '<th scope="col">{}</th></tr></thead><tbody>{}</tbody></table>',
            gettext("Before"),
            gettext("After"),
            format_html_join(
                "",
                '<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>',
                (
                    (name, _as_text(entry.before.get(name)), _as_text(entry.after.get(name)))
                    for name in names
                ),
            ),
        )


def _breakable(value: str) -> SafeString:
    """A text that narrow columns break at dots and at signs, not within words."""
    parts = re.split(r"(?<=\.)|(?=@)", value)
    return format_html_join(SafeString("<wbr>"), "{}", ((part,) for part in parts))


def _as_text(value: Any) -> str:
    """A value of the log as text: empty values as an empty text, others as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if value not in (None, {}, []) else ""
