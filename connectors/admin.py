"""Admin of connections: set up, test, pin the host key, pause and resume."""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.views.decorators.debug import sensitive_post_parameters

from accounts.scoped_admin import (
    ConditionFilter,
    OrgScopedAdmin,
    ReasonForm,
    freeze,
    person,
    require,
)
from connectors import health, registry
from connectors.configuring import create_connection, masked_config, pin_host_key
from connectors.errors import CATALOGUE, ConnectorError
from connectors.forms import PREFIX, ConfigForm, config_form, fieldsets
from connectors.models import NEVER_TESTED, ErpConnection
from connectors.port import ConfigError, ERPConnectorPort
from connectors.secrets import MASK
from exports import workers
from exports.connection_tests import is_lost, request_test
from exports.connections import change_config
from exports.push import deliver_waiting
from exports.ring import poll_now
from exports.statistics import PERIOD, ack_latency, backlog
from orderflow.badges import Tone, badge
from orderflow.db import Now
from orderflow.durations import in_words
from orderflow.rehearsal import rehearsal
from orders.errors import Refused

_OUTCOME_TONES = {"ok": Tone.GOOD, "failed": Tone.BAD, "skipped": Tone.QUIET}


class ConnectionForm(ConfigForm):
    """Shows what the services refuse at the fields that they name."""

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if self.errors:
            return data
        try:
            if self.instance._state.adding:
                self.connector.parse_config(self.config)
            elif self.has_changed_config:
                # A copy: the rehearsal leaves its marks on the object.
                connection = ErpConnection.objects.get(pk=self.instance.pk)
                with rehearsal():
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
            self.add_error(None, "Secrets are never shown again: enter them once more.")
        return data


class Paused(ConditionFilter):
    title = "paused"
    parameter_name = "paused"
    conditions = {"yes": Q(paused_at__isnull=False), "no": Q(paused_at=None)}


@admin.register(ErpConnection)
class ErpConnectionAdmin(OrgScopedAdmin):
    list_display = ("__str__", "active", "state", "last_test")
    list_filter = ("active", Paused, ("org", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("org", "paused_by")
    search_fields = ("org__name",)
    ordering = ("org__name", "connector_type")
    readonly_fields = ("configuration",)

    class Media:
        js = ("orderflow/connection_form.js",)

    # The list.

    def state(self, connection: ErpConnection) -> SafeString:
        """What the connection does now, and why."""
        if connection.is_paused:
            tone = Tone.BUSY if connection.pause_reason == NEVER_TESTED else Tone.BAD
            return _badge_and("paused", tone, pause_reason(connection))
        if connection.failures and connection.retry_at:
            return _badge_and("failing", Tone.BAD, f"next try at {localize(connection.retry_at)}")
        return (
            _badge_and("ok", Tone.GOOD, "")
            if connection.active
            else _badge_and("inactive", Tone.QUIET, "")
        )

    @admin.display(description="last test", ordering="last_test_at")
    def last_test(self, connection: ErpConnection) -> SafeString:
        if connection.last_test_at is None:
            return badge("never", Tone.QUIET)
        label, tone = (
            ("passed", Tone.GOOD)
            if connection.last_test_success
            else (
                "failed",
                Tone.BAD,
            )
        )
        return _badge_and(label, tone, localize(connection.last_test_at))

    # The form.

    @admin.display(description="configuration")
    def configuration(self, connection: ErpConnection) -> SafeString:
        """For those who may look but not change."""
        labels = {field.name: field.label for field in connection.connector.config_form}
        told = _told_secrets(connection)
        return format_html(
            '<dl class="error-facts">{}</dl>',
            format_html_join(
                "",
                "<dt>{}</dt><dd>{}</dd>",
                (
                    (labels.get(name, name), told.get(name, value))
                    for name, value in _shown_config(connection).items()
                ),
            ),
        )

    def get_fieldsets(self, request: HttpRequest, obj: ErpConnection | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            own = ("org", "connector_type", "active", "ack_deadline", "configuration")
            return [(None, {"fields": own})]
        return fieldsets(_connector(request, obj), _shown_config(obj))

    def get_form(
        self,
        request: HttpRequest,
        obj: ErpConnection | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> "type[forms.ModelForm[Any]]":
        drawn = config_form(
            _connector(request, obj), _shown_config(obj), _told_secrets(obj), ConnectionForm
        )
        form = super().get_form(request, obj, change=change, **{**kwargs, "form": drawn})
        if obj is not None and "connector_type" in form.base_fields:
            freeze(form.base_fields["connector_type"])
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"connector_type": _connector(request, None).connector_type, **initial}

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
        except ConfigError as e:
            # An export was staged between the checking and the saving of the form.
            self.message_user(request, str(e), messages.ERROR)
            return redirect(request.path)

    def save_model(
        self,
        request: HttpRequest,
        obj: ErpConnection,
        form: ConnectionForm,
        change: bool,
    ) -> None:
        if not change:
            obj.pk = create_connection(
                obj.org,
                connector_type=obj.connector_type,
                config=form.config,
                actor=person(request),
                active=obj.active,
            ).pk
        elif form.has_changed_config:
            change_config(obj, form.config, actor=person(request), clear=form.cleared)
        own = {name: form.cleaned_data[name] for name in ("active", "ack_deadline")}
        ErpConnection.objects.filter(pk=obj.pk).update(**own, updated_at=Now())

    def response_post_save_add(
        self, request: HttpRequest, obj: ErpConnection
    ) -> HttpResponseRedirect:
        self.message_user(
            request, "The connection is paused until its test passes: test it now.", messages.INFO
        )
        return redirect("admin:connectors_erpconnection_change", obj.pk)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ErpConnection | None = None,
    ) -> HttpResponse:
        if obj is not None:
            # Read again: a form that was refused has already changed the object.
            connection = ErpConnection.objects.select_related("paused_by").get(pk=obj.pk)
            context.update(self._state(request, connection))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _state(self, request: HttpRequest, connection: ErpConnection) -> dict[str, Any]:
        """What the page says about a connection beside its form."""
        user = person(request)
        return {
            "connection": connection,
            "state": self.state(connection),
            "is_untested": connection.pause_reason == NEVER_TESTED and not connection.paused_by,
            "last_test": self.last_test(connection),
            "pause_spec": None if connection.paused_by else CATALOGUE.get(connection.pause_reason),
            "config_error": _config_error(connection),
            "last_error": _last_error(connection),
            "reads_acks": reads_acks(connection),
            "ack_error": _dated(connection.ack_error),
            "latency": _latency(connection),
            "backlog": backlog(connection),
            "may_test": user.has_perm("connectors.test_erpconnection"),
            "may_deliver": user.has_perm("orders.push_draftorder"),
            "may_pause": user.has_perm("connectors.pause_erpconnection"),
            "may_pin": user.has_perm("connectors.change_erpconnection")
            and _unpinned_key(connection),
        }

    # What can be done with a connection.

    def get_urls(self) -> list[URLPattern]:
        views = {
            "test": self.test_view,
            "poll": self.poll_view,
            "deliver": self.deliver_view,
            "pin": self.pin_view,
            "pause": self.pause_view,
            "resume": self.resume_view,
        }
        return [
            *(
                path(
                    f"<uuid:pk>/{name}/",
                    self.admin_site.admin_view(view),
                    name=f"connectors_erpconnection_{name}",
                )
                for name, view in views.items()
            ),
            path(
                "<uuid:pk>/test/<uuid:test>/",
                self.admin_site.admin_view(self.test_result_view),
                name="connectors_erpconnection_test_result",
            ),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.test_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Test connection",
                original=connection,
                paragraphs=[
                    "The test does what a delivery does: it logs in and writes, renames and "
                    "removes a small file whose name no ERP takes for an order. "
                    "No order is sent by the test itself.",
                    "If it passes, a pause by the system ends and waiting exports are delivered.",
                ],
                submit="Test now",
                back=_change_url(connection),
            )
        try:
            test = request_test(connection, actor=person(request))
        except Refused as e:
            self.message_user(request, e.message, messages.ERROR)
            return redirect(_change_url(connection))
        self.log_change(request, connection, "Asked for a connection test.")
        return redirect("admin:connectors_erpconnection_test_result", pk, test.pk)

    def test_result_view(self, request: HttpRequest, pk: UUID, test: UUID) -> HttpResponse:
        """A test as far as it has come; the page looks again by itself until it has ended."""
        connection: ErpConnection = self.get_or_404(request, pk)
        asked = get_object_or_404(connection.tests, pk=test)
        return self.page(
            request,
            "admin/connectors/erpconnection/test_result.html",
            title="Connection test",
            original=connection,
            test=asked,
            is_lost=is_lost(asked),
            has_worker=workers.alive().exists(),
            steps=[
                (step, badge(step["outcome"], _OUTCOME_TONES[step["outcome"]]))
                for step in asked.steps
            ],
            milliseconds=sum(step["milliseconds"] for step in asked.steps),
            **self._state(request, connection),
        )

    def poll_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.test_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        may_read = health.may_read(connection)
        if request.method != "POST" or not may_read:
            return self.confirmation(
                request,
                title="Check acks",
                original=connection,
                paragraphs=[
                    "A worker looks into the ack folder at once: what the ERP has answered counts "
                    "and is moved away, and files that the ERP has taken are noted."
                ]
                if may_read
                else [
                    "The dropzone cannot be reached.",
                    f"The connection is paused: {pause_reason(connection)}"
                    if connection.is_paused
                    else f"The next try is at {localize(connection.retry_at)}.",
                ],
                submit="Check acks now" if may_read else "",
                back=_change_url(connection),
            )
        poll_now(pk)
        self.log_change(request, connection, "Asked for a look at the acks.")
        self.message_user(request, "A worker looks for acks now.", messages.SUCCESS)
        return redirect(_change_url(connection))

    def deliver_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "orders.push_draftorder")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Deliver now",
                original=connection,
                paragraphs=[
                    "A worker tries at once what waits here, also what was put off after failures. "
                    "What was sent is not sent twice. Exports that need a decision go on waiting."
                    if not connection.is_paused
                    else "The connection is paused: what waits goes when it resumes."
                ],
                submit="" if connection.is_paused else "Deliver now",
                back=_change_url(connection),
            )
        try:
            deliver_waiting(pk, actor=person(request))
        except Refused as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.log_change(request, connection, "Asked for a delivery.")
            self.message_user(request, "A worker delivers now.", messages.SUCCESS)
        return redirect(_change_url(connection))

    def pin_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.change_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        seen = _unpinned_key(connection)
        back = redirect(_change_url(connection))
        if not seen:
            self.message_user(request, "There is no new host key to pin.", messages.WARNING)
            return back
        if request.method != "POST":
            pinned = _pinned_keys(connection)
            return self.confirmation(
                request,
                title="Pin host key",
                template="admin/connectors/erpconnection/pin.html",
                original=connection,
                paragraphs=[
                    "Ask the ERP admin, by another way than this connection, for the fingerprint "
                    "of the server's host key. Pin the key only if it is the same.",
                    "The pinned key is trusted instead of those trusted so far."
                    if pinned
                    else "From then on only a server that shows this key is trusted.",
                ],
                pinned=[(key.split()[0], fingerprint(key)) for key in pinned],
                seen=(seen.split()[0], fingerprint(seen)),
                hidden=[("host_key", seen)],
                submit="Pin this host key",
                back=_change_url(connection),
            )
        if request.POST.get("host_key") != seen:
            self.message_user(
                request, "Another test has seen another host key meanwhile.", messages.ERROR
            )
            return back
        try:
            pin_host_key(connection, seen, actor=person(request))
        except (ConfigError, ConnectorError) as e:
            self.message_user(request, str(e), messages.ERROR)
        else:
            self.log_change(request, connection, f"Pinned the host key {fingerprint(seen)}.")
            self.message_user(
                request, "The host key was pinned. Test the connection again.", messages.SUCCESS
            )
        return back

    def pause_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.pause_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self.confirmation(
                request,
                title="Pause connection",
                original=connection,
                paragraphs=[
                    "Nothing is delivered until a person resumes the connection. "
                    "Orders can still be pushed: their exports wait."
                ],
                form=form,
                submit="Pause",
                back=_change_url(connection),
            )
        reason = form.cleaned_data["reason"]
        if health.pause(pk, reason=reason, actor=person(request)):
            self.log_change(request, connection, f"Paused: {reason}")
            self.message_user(request, "The connection was paused.", messages.SUCCESS)
        else:
            self.message_user(request, "Somebody has paused it already.", messages.WARNING)
        return redirect(_change_url(connection))

    def resume_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.pause_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Resume connection",
                original=connection,
                paragraphs=[
                    "Waiting exports are delivered at once.",
                    f"The connection was paused: {pause_reason(connection)}"
                    if connection.is_paused
                    else "The connection is not paused now.",
                ],
                submit="Resume" if connection.is_paused else "",
                back=_change_url(connection),
            )
        if health.resume(pk):
            self.log_change(request, connection, "Resumed.")
            self.message_user(request, "The connection was resumed.", messages.SUCCESS)
        elif ErpConnection.objects.get(pk=pk).is_paused:
            self.message_user(
                request,
                "The connection was not tested since it was set up or changed. "
                "It resumes by itself when its test passes.",
                messages.WARNING,
            )
        else:
            self.message_user(request, "The connection was not paused.", messages.WARNING)
        return redirect(_change_url(connection))


def fingerprint(key: str) -> str:
    """The SHA256 fingerprint of a public key line, as ssh shows it."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return "unreadable"
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _connector(request: HttpRequest, connection: ErpConnection | None) -> ERPConnectorPort:
    if connection is not None:
        return connection.connector
    asked = request.POST.get("connector_type") or request.GET.get("connector_type")
    known = list(registry.CONNECTORS)
    return registry.get_connector(asked if asked in known else known[0])


def _shown_config(connection: ErpConnection | None) -> dict[str, Any]:
    """The configuration with masked secrets; empty if there is none that can be read."""
    if connection is None or _config_error(connection):
        return {}
    return masked_config(connection)


def _told_secrets(connection: ErpConnection | None) -> dict[str, str]:
    """A sentence about each secret that is set: which one, since when and by whom."""
    if connection is None:
        return {}
    told = {}
    for name, value in _shown_config(connection).items():
        if value == MASK:
            noted = connection.secrets_set.get(name, {})
            about = f": {noted['about']}" if noted.get("about") else ""
            since = f", since {localize(datetime.fromisoformat(noted['at']))}" if noted else ""
            by = f" by {noted['by']}" if noted.get("by") else ""
            told[name] = f"One is set{about}{since}{by}."
    return told


def _config_error(connection: ErpConnection) -> ConnectorError | None:
    try:
        masked_config(connection)
    except ConnectorError as e:
        return e
    return None


def _pinned_keys(connection: ErpConnection) -> list[str]:
    stored = _shown_config(connection).get("host_keys") or []
    lines = stored.splitlines() if isinstance(stored, str) else stored
    return [" ".join(line.split()[:2]) for line in lines if line.strip()]


def _unpinned_key(connection: ErpConnection) -> str:
    """The host key that the last test saw, unless it is pinned; else empty."""
    seen = connection.host_key_seen
    return "" if seen in _pinned_keys(connection) else seen


def pause_reason(connection: ErpConnection) -> str:
    """Why a connection is paused, as a sentence."""
    if connection.paused_by:
        return f"{connection.pause_reason} ({connection.paused_by})"
    if connection.pause_reason == NEVER_TESTED:
        return "It was not tested since it was set up or changed."
    spec = CATALOGUE.get(connection.pause_reason)
    return spec.message if spec else connection.pause_reason


def reads_acks(connection: ErpConnection) -> bool:
    """Whether the ERP may answer here; it may where the configuration cannot say."""
    try:
        return connection.connector.reads_acks(connection.parse_config())
    except ConnectorError:
        return True


def _last_error(connection: ErpConnection) -> dict[str, Any] | None:
    """The last error, unless it is why the connection is paused and so is said already."""
    error = connection.last_error
    return None if error and error["code"] == connection.pause_reason else _dated(error)


def _dated(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return error and error | {"at": datetime.fromisoformat(error["at"])}


def _latency(connection: ErpConnection) -> str:
    latency = ack_latency(connection)
    if latency is None:
        return ""
    return (
        f"half within {in_words(latency.p50)}, 95 % within {in_words(latency.p95)} "
        f"({latency.count:,} accepted in {PERIOD.days} days)"
    )


def _badge_and(label: str, tone: Tone, text: str) -> SafeString:
    return format_html("{} <span>{}</span>", badge(label, tone), text)


def _change_url(connection: ErpConnection) -> str:
    return reverse("admin:connectors_erpconnection_change", args=[connection.pk])
