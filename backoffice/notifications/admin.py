"""The admin of webhooks and notifications. A secret is shown once, when it is made."""

import json
from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.actions import Done, ObjectAction, Submitted
from backoffice.badges import Tone, badge
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.forms import Inline, LongText
from backoffice.pages import draw, url_of
from backoffice.permissions import person
from backoffice.scoping import OrgScopedAdmin, ReadOnlyAdmin
from connectors.secrets import Secret
from kernel.errors import RuleViolation
from notifications import webhooks
from notifications.models import Notification, Webhook, WebhookAttempt
from notifications.posting import denial_reason


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    event_types = forms.MultipleChoiceField(
        label=_("Events"),
        # The CSS class of choices with long texts.
        widget=forms.CheckboxSelectMultiple({"class": "radiolist"}),
        choices=[(t.value, f"{t.value}: {t.label}") for t in Webhook.CHOOSABLE],
        initial=[t.value for t in Webhook.CHOOSABLE],
    )

    class Meta:
        widgets = {"url": LongText}

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"])
        if reason := denial_reason(url):
            raise forms.ValidationError(reason)
        return url


def _shown_once(
    model_admin: OrgScopedAdmin[Webhook], request: HttpRequest, webhook: Webhook, secret: Secret
) -> HttpResponse:
    """The page with a new secret. It is no redirect, so that only this response has the text."""
    return draw(
        model_admin,
        request,
        "admin/notifications/webhook/secret.html",
        title=gettext("Secret of the webhook"),
        original=webhook,
        secret=secret.reveal(),
    )


def _replace_secret(submitted: Submitted[Webhook]) -> Done:
    webhook = submitted.obj
    secret = webhooks.replace_secret(webhook.pk, actor=submitted.actor)
    page = _shown_once(submitted.model_admin, submitted.request, webhook, secret)
    return Done(history="Made a new secret.", page=page)


def _send_test(submitted: Submitted[Webhook]) -> Done:
    page = redirect(url_of(webhooks.send_test(submitted.obj)))
    return Done(message=gettext("The test message is on its way. See the result here."), page=page)


WEBHOOK_ACTIONS: Final[Sequence[ObjectAction[Webhook]]] = (
    ObjectAction(
        name="test",
        label=_("Send test message"),
        permission="notifications.change_webhook",
        denial=lambda webhook: (
            "" if webhook.active else gettext("The webhook is not active. Make it active first.")
        ),
        sentences=[_("A message of type webhook.test is sent to %(url)s")],
        facts=lambda webhook: {"url": webhook.url},
        service=_send_test,
        is_offered=lambda webhook: webhook.active,
        is_primary=lambda webhook: True,
    ),
    ObjectAction(
        name="secret",
        label=_("Make new secret"),
        permission="notifications.change_webhook",
        sentences=[
            _(
                "The new secret is shown once. For 24 hours messages are signed with both secrets, "
                "so that the receiver has time to change."
            )
        ],
        service=_replace_secret,
    ),
)


@admin.register(Webhook)
class WebhookAdmin(OrgScopedAdmin[Webhook]):
    object_actions = WEBHOOK_ACTIONS
    form = WebhookForm
    fields = ("org", "url", "event_types", "active")
    list_display = ("organisation", "url", "state_badge")
    list_select_related = ("org",)
    search_fields = ("org__name", "url")

    @admin.display(description="state")
    def state_badge(self, webhook: Webhook) -> SafeString:
        if webhook.disabled_at:
            return badge(gettext("disabled"), Tone.BAD)
        if not webhook.active:
            return badge(gettext("inactive"), Tone.QUIET)
        return (
            badge(gettext("failing"), Tone.BAD)
            if webhook.failures
            else badge(gettext("active"), Tone.GOOD)
        )

    def save_model(
        self, request: HttpRequest, obj: Webhook, form: WebhookForm, change: bool
    ) -> None:
        said = {name: form.cleaned_data[name] for name in ("url", "event_types", "active")}
        if change:
            webhooks.change_webhook(obj.pk, **said, actor=person(request))
        else:
            webhook, secret = webhooks.create_webhook(obj.org, **said, actor=person(request))
            obj.pk = webhook.pk
            obj.secret = secret  # type: ignore[attr-defined]  # for response_add

    def response_add(
        self, request: HttpRequest, obj: Webhook, post_url_continue: str | None = None
    ) -> HttpResponse:
        return _shown_once(self, request, obj, obj.secret)  # type: ignore[attr-defined]

    def object_context(self, request: HttpRequest, obj: Webhook) -> dict[str, Any]:
        return {"webhook": obj, "state": self.state_badge(obj)}


class Delivery(ConditionFilter):
    title = "webhook"
    parameter_name = "webhook"
    conditions = {
        "delivered": Q(delivered_at__isnull=False),
        "waiting": Q(webhook_due_at__isnull=False),
        "given up": Q(webhook_due_at=None, delivered_at=None, attempts__gt=0),
    }


class AttemptInline(Inline):
    model = WebhookAttempt
    fields = ("at", "url", "status", "milliseconds", "error", "response")
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = _("Attempts")

    def has_add_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False


def _has_active_webhook(notification: Notification) -> bool:
    return Webhook.objects.filter(org=notification.org_id, active=True).exists()


def _redeliver(submitted: Submitted[Notification]) -> None:
    if not webhooks.redeliver(submitted.obj):
        raise RuleViolation("INACTIVE", _no_webhook())


def _no_webhook() -> str:
    return gettext("There is no active webhook. Make a webhook active first.")


REDELIVER: Final[ObjectAction[Notification]] = ObjectAction(
    name="redeliver",
    label=_("Send again"),
    permission="notifications.redeliver_notification",
    denial=lambda notification: "" if _has_active_webhook(notification) else _no_webhook(),
    sentences=[
        _(
            "The same message is sent to the webhook again, with the same webhook-id. "
            "A receiver that has processed it already ignores it."
        )
    ],
    service=_redeliver,
    done=_("The message is sent again now."),
    is_offered=lambda notification: notification.attempts > 0,
    is_primary=lambda notification: True,
)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin[Notification]):
    object_actions = (REDELIVER,)
    list_display = (
        "created_at",
        "event_type",
        "organisation",
        "webhook_badge",
        "attempts",
        "mailed_at",
    )
    list_filter = ("event_type", Delivery, ("org", VisibleFieldListFilter))
    list_select_related = ("org",)
    list_per_page = 50
    inlines = (AttemptInline,)
    fields = (
        "organisation",
        "event_type",
        "created_at",
        "webhook_id",
        "content",
        ("delivered_at", "webhook_due_at", "attempts"),
        ("mailed_at", "mail_due_at"),
    )
    readonly_fields = ("organisation", "webhook_id", "content")

    @admin.display(description="webhook-id")
    def webhook_id(self, notification: Notification) -> str:
        return notification.message_id

    @admin.display(description="data")
    def content(self, notification: Notification) -> SafeString:
        text = json.dumps(notification.data, indent=2, ensure_ascii=False)
        return format_html('<pre class="payload" tabindex="0">{}</pre>', text)

    @admin.display(description="webhook")
    def webhook_badge(self, notification: Notification) -> SafeString | str:
        if notification.delivered_at:
            return badge(gettext("sent"), Tone.GOOD)
        if notification.webhook_due_at:
            return badge(
                gettext("failing") if notification.attempts else gettext("waiting"), Tone.BUSY
            )
        return badge(gettext("given up"), Tone.BAD) if notification.attempts else ""

    def object_context(self, request: HttpRequest, obj: Notification) -> dict[str, Any]:
        return {
            "notification": obj,
            "state": self.webhook_badge(obj),
            "has_webhook": _has_active_webhook(obj),
        }
