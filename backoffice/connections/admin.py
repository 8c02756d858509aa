"""The admin of connections: their list, and the form that sets one up or changes it."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.connections.forms import PREFIX, ConfigForm, config_form, fieldsets
from backoffice.connections.operations import ACTIONS, test_result_view
from backoffice.connections.state import full_state, last_test, shown_config, state
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.forms import freeze
from backoffice.pages import Page
from backoffice.permissions import person
from backoffice.scoping import OrgScopedAdmin
from connectors import registry
from connectors.configuring import change_settings, create_connection
from connectors.models import ErpConnection
from connectors.port import ConfigError, ConfigField, ERPConnectorPort
from connectors.secrets import MASK
from exports.connections import change_config
from kernel.dry_run import dry_run
from kernel.errors import RuleViolation


class ConnectionForm(ConfigForm):
    """Shows the errors of the services at the fields that they name."""

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if self.errors:
            return data
        try:
            if self.instance._state.adding:
                self.connector.parse_config(self.config)
            elif self.has_changed_config:
                # A copy: the dry run changes the object.
                connection = ErpConnection.objects.get(pk=self.instance.pk)
                with dry_run():
                    change_config(connection, self.config, clear=self.cleared)
        except ConfigError as e:
            for name, reason in e.errors.items():
                is_drawn = PREFIX + name in self.fields
                self.add_error(
                    PREFIX + name if is_drawn else None,
                    capfirst(reason) if is_drawn else f"{name}: {reason}",
                )
        if self.errors and any(
            self.cleaned_data.get(PREFIX + name) for name in self.connector.secret_fields
        ):
            self.add_error(None, gettext("Enter the secrets again: they are never shown."))
        return data


class Paused(ConditionFilter):
    title = _("paused")
    parameter_name = "paused"
    conditions = {"yes": Q(paused_at__isnull=False), "no": Q(paused_at=None)}


@admin.register(ErpConnection)
class ErpConnectionAdmin(OrgScopedAdmin[ErpConnection]):
    pages = (Page(name="test_result", route="<uuid:pk>/test/<uuid:test>/", view=test_result_view),)
    object_actions = ACTIONS
    list_display = ("__str__", "active", state, last_test)
    list_filter = ("active", Paused, ("org", VisibleFieldListFilter))
    list_select_related = ("org", "paused_by")
    search_fields = ("org__name",)
    ordering = ("org__name", "connector_type")
    readonly_fields = ("organisation", "configuration")

    class Media:
        js = ("orderflow/connection_form.js",)

    # The form.

    @admin.display(description=_("configuration"))
    def configuration(self, connection: ErpConnection) -> SafeString:
        """The configuration for people who may see it but not change it."""
        config, told = shown_config(connection), _told_secrets(connection)
        return format_html(
            '<dl class="error-facts">{}</dl>',
            format_html_join(
                "",
                "<dt>{}</dt><dd>{}</dd>",
                (
                    (field.label, told.get(field.name) or _in_words(field, config[field.name]))
                    for field in connection.connector.config_form
                    if config.get(field.name) is not None
                ),
            ),
        )

    def get_fieldsets(self, request: HttpRequest, obj: ErpConnection | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            own = ("organisation", "connector_type", "active", "ack_deadline", "configuration")
            return [(None, {"fields": own})]
        return fieldsets(_connector(request, obj), shown_config(obj))

    def get_form(
        self,
        request: HttpRequest,
        obj: ErpConnection | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> "type[forms.ModelForm[Any]]":
        drawn = config_form(
            _connector(request, obj), shown_config(obj), _told_secrets(obj), ConnectionForm
        )
        form = super().get_form(request, obj, change=change, **{**kwargs, "form": drawn})
        if obj is not None and "connector_type" in form.base_fields:
            freeze(form.base_fields["connector_type"])
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"connector_type": _connector(request, None).connector_type, **initial}

    def save_model(
        self,
        request: HttpRequest,
        obj: ErpConnection,
        form: ConnectionForm,
        change: bool,
    ) -> None:
        actor = person(request)
        own = {name: form.cleaned_data[name] for name in ("active", "ack_deadline")}
        try:
            if not change:
                kind, config = obj.connector_type, form.config
                created = create_connection(
                    obj.org, connector_type=kind, config=config, actor=actor, **own
                )
                obj.pk = created.pk
                return
            if form.has_changed_config:
                change_config(obj, form.config, actor=actor, clear=form.cleared)
        except ConfigError as e:
            # Something has changed since the form was checked, such as a staged export.
            raise RuleViolation("NOT_CONFIGURED", str(e)) from e
        change_settings(obj.pk, actor=actor, **own)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        message = super().construct_change_message(request, form, formsets, add)
        own = [name for name in form.changed_data if not name.startswith(PREFIX)]
        return message if add or own else []

    def log_change(self, request: HttpRequest, obj: ErpConnection, message: Any) -> Any:
        # The service notes the changes of the configuration.
        return super().log_change(request, obj, message) if message else None

    def response_post_save_add(
        self, request: HttpRequest, obj: ErpConnection
    ) -> HttpResponseRedirect:
        self.message_user(
            request,
            gettext("The connection is paused until its test passes. Test it now."),
            messages.INFO,
        )
        return redirect("admin:connectors_erpconnection_change", obj.pk)

    def object_context(self, request: HttpRequest, obj: ErpConnection) -> dict[str, Any]:
        return full_state(obj)


def _connector(request: HttpRequest, connection: ErpConnection | None) -> ERPConnectorPort:
    if connection is not None:
        return connection.connector
    asked = request.POST.get("connector_type") or request.GET.get("connector_type")
    known = list(registry.CONNECTORS)
    return registry.get_connector(asked if asked in known else known[0])


def _in_words(field: ConfigField, value: Any) -> str:
    """A value as the form of those who may change it shows it."""
    if field.kind == "boolean":
        return gettext("yes") if value else gettext("no")
    if field.kind == "lines":
        return ", ".join(value) or gettext("none")
    return str(dict(field.choices).get(value, value))


def _told_secrets(connection: ErpConnection | None) -> dict[str, str]:
    """A sentence about each secret that is set: which one, since when and by whom."""
    if connection is None:
        return {}
    told = {}
    for name, value in shown_config(connection).items():
        if value == MASK:
            noted = connection.secrets_set.get(name, {})
            about = f": {noted['about']}" if noted.get("about") else ""
            since = f", since {localize(datetime.fromisoformat(noted['at']))}" if noted else ""
            by = f" by {noted['by']}" if noted.get("by") else ""
            told[name] = f"One is set{about}{since}{by}."
    return told
