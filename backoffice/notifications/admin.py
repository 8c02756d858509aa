"""The admin of webhooks and notifications. A secret is shown once, when it is made."""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from backoffice.badges import Tone, badge
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.forms import Inline, LongText
from backoffice.scoping import OrgScopedAdmin, ReadOnlyAdmin, person, require
from connectors.secrets import Secret
from notifications import webhooks
from notifications.models import EventType, Notification, Webhook, WebhookAttempt
from notifications.posting import denial_reason


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    event_types = forms.MultipleChoiceField(
        label="Events",
        # The class of lists of choices that may be as long as the page is wide.
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


@admin.register(Webhook)
class WebhookAdmin(OrgScopedAdmin):
    form = WebhookForm
    fields = ("org", "url", "event_types", "active")
    list_display = ("org", "url", "state_badge")
    list_select_related = ("org",)
    search_fields = ("org__name", "url")

    @admin.display(description="state")
    def state_badge(self, webhook: Webhook) -> SafeString:
        if webhook.disabled_at:
            return badge("disabled", Tone.BAD)
        if not webhook.active:
            return badge("inactive", Tone.QUIET)
        return badge("failing", Tone.BAD) if webhook.failures else badge("active", Tone.GOOD)

    def get_urls(self) -> list[URLPattern]:
        views = {"secret": self.secret_view, "test": self.test_view}
        return [
            *(
                path(
                    f"<uuid:pk>/{name}/",
                    self.admin_site.admin_view(view),
                    name=f"notifications_webhook_{name}",
                )
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

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
        # Not by a redirect: nothing but this answer ever holds the text.
        return self._show(request, obj, obj.secret)  # type: ignore[attr-defined]

    def _show(self, request: HttpRequest, webhook: Webhook, secret: Secret) -> HttpResponse:
        return self.page(
            request,
            "admin/notifications/webhook/secret.html",
            title="The secret of the webhook",
            original=webhook,
            secret=secret.reveal(),
        )

    def object_context(self, request: HttpRequest, obj: Webhook) -> dict[str, Any]:
        # Read again: a form that was refused has already changed the object.
        webhook = Webhook.objects.select_related("secret_set_by").get(pk=obj.pk)
        return {
            "webhook": webhook,
            "state": self.state_badge(webhook),
            "may_change": self.has_change_permission(request, obj),
        }

    def secret_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "notifications.change_webhook")
        webhook: Webhook = self.get_or_404(request, pk)
        if request.method == "POST":
            secret = webhooks.replace_secret(pk, actor=person(request))
            self.log_change(request, webhook, "Made a new secret.")
            return self._show(request, webhook, secret)
        return self.confirmation(
            request,
            title="Make a new secret",
            original=webhook,
            paragraphs=[
                "The new secret is shown once. For 24 hours messages are signed with the present "
                "one as well, so that the receiver can learn the new one meanwhile."
            ],
            submit="Make a new secret",
            back=_change_url(webhook),
        )

    def test_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "notifications.change_webhook")
        webhook: Webhook = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Send a test",
                original=webhook,
                paragraphs=[
                    f"A message of the type {EventType.WEBHOOK_TEST.value} is sent to {webhook.url}"
                    if webhook.active
                    else "The webhook is not active: make it so first."
                ],
                submit="Send" if webhook.active else "",
                back=_change_url(webhook),
            )
        if not webhook.active:
            self.message_user(request, "The webhook is not active.", messages.ERROR)
            return redirect(_change_url(webhook))
        notification = webhooks.send_test(webhook)
        self.message_user(request, "This page shows what came of it.", messages.SUCCESS)
        return redirect("admin:notifications_notification_change", notification.pk)


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
    verbose_name_plural = "Attempts to deliver it to the webhook"

    def has_add_permission(self, request: HttpRequest, obj: Any | None = None) -> bool:
        return False


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "event_type", "org", "webhook_badge", "attempts", "mailed_at")
    list_filter = ("event_type", Delivery, ("org", VisibleFieldListFilter))
    list_select_related = ("org",)
    list_per_page = 50
    inlines = (AttemptInline,)
    fields = (
        "org",
        "event_type",
        "created_at",
        "webhook_id",
        "content",
        ("delivered_at", "webhook_due_at", "attempts"),
        ("mailed_at", "mail_due_at"),
    )
    readonly_fields = ("webhook_id", "content")

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
            return badge("delivered", Tone.GOOD)
        if notification.webhook_due_at:
            return badge("failing" if notification.attempts else "waiting", Tone.BUSY)
        return badge("given up", Tone.BAD) if notification.attempts else ""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.redeliver_view)
        name = "notifications_notification_redeliver"
        return [path("<uuid:pk>/redeliver/", view, name=name), *super().get_urls()]

    def object_context(self, request: HttpRequest, obj: Notification) -> dict[str, Any]:
        return {
            "notification": obj,
            "state": self.webhook_badge(obj),
            "has_webhook": _has_active_webhook(obj),
            "may_redeliver": obj.attempts
            and request.user.has_perm("notifications.redeliver_notification"),
        }

    def redeliver_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "notifications.redeliver_notification")
        notification: Notification = self.get_or_404(request, pk)
        back = reverse("admin:notifications_notification_change", args=[pk])
        if request.method != "POST":
            has_webhook = _has_active_webhook(notification)
            return self.confirmation(
                request,
                title="Deliver again",
                original=notification,
                paragraphs=[
                    "The same message is sent to the webhook again, with the same webhook-id: a "
                    "receiver that has dealt with it ignores it."
                    if has_webhook
                    else "There is no active webhook: make one active first."
                ],
                submit="Deliver again" if has_webhook else "",
                back=back,
            )
        if webhooks.redeliver(notification):
            self.message_user(request, "It is sent again at once.", messages.SUCCESS)
        else:
            self.message_user(request, "There is no active webhook.", messages.ERROR)
        return redirect(back)


def _has_active_webhook(notification: Notification) -> bool:
    return Webhook.objects.filter(org=notification.org_id, active=True).exists()


def _change_url(webhook: Webhook) -> str:
    return reverse("admin:notifications_webhook_change", args=[webhook.pk])
