"""Webhooks and notifications in the admin: set up, tested, looked at, delivered again."""

import logging
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from standardwebhooks import Webhook as Verifier

from accounts.models import Org, User
from connectors.secrets import Secret
from kernel.db import db_now
from notifications.models import Notification, Webhook, WebhookAttempt
from notifications.sending import send_due
from notifications.webhooks import create_webhook
from tests.support.admins import a_member, logged_in, messages, text
from tests.support.builders import an_org
from tests.support.servers import WebServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def webhook(org: Org, oskar: User) -> Webhook:
    url = "http://localhost:9/<b>"
    create_webhook(org, url=url, event_types=["export.failed"], actor=oskar)
    return Webhook.objects.get()


@pytest.fixture
def notification(org: Org) -> Notification:
    told = Notification.objects.create(
        org=org,
        event_type="export.failed",
        created_at=db_now(),
        data={"error": {"message": "<script>alert(1)</script>"}},
        attempts=1,
    )
    WebhookAttempt.objects.create(
        notification=told,
        at=db_now(),
        url="http://localhost:9/",
        status=500,
        milliseconds=7,
        error="The server answered with status 500.",
        response="<script>alert(2)</script>",
    )
    return told


def url(name: str, *args: object) -> str:
    return reverse(f"admin:notifications_{name}", args=args)


def form(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://receiver.example/hook",
        "event_types": ["export.failed", "connection.paused"],
        "active": "on",
        **changes,
    }


def test_a_webhook_is_set_up_and_its_secret_is_shown_once(
    org: Org, operator_client: Client, oskar: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with WebServer() as web:
        page = text(operator_client.post(url("webhook_add"), form(org=org.pk, url=web.url)))
        (secret,) = re.findall(r"whsec_[\w+/=]+", page)
        webhook = Webhook.objects.get()
        assert (webhook.org, webhook.url, webhook.secret_set_by) == (org, web.url, oskar)
        assert webhook.event_types == ["export.failed", "connection.paused"]
        response = operator_client.post(url("webhook_test", webhook.pk), follow=True)
        assert "waiting" in text(response)
        send_due()
    (received,) = web.received
    assert Verifier(secret).verify(received.body, dict(received.headers))["type"] == "webhook.test"
    pages = [
        url("webhook_changelist"),
        url("webhook_change", webhook.pk),
        url("webhook_history", webhook.pk),
        url("notification_changelist"),
        url("notification_change", Notification.objects.get().pk),
    ]
    for page in [*(text(operator_client.get(page)) for page in pages), caplog.text]:
        assert secret.removeprefix("whsec_") not in page
    shown = text(operator_client.get(url("webhook_change", webhook.pk)))
    assert "by oskar@acme.example. It is never shown again." in shown
    assert "thank you" in text(operator_client.get(response.redirect_chain[-1][0]))


def test_a_new_secret_is_made_after_confirmation(operator_client: Client, webhook: Webhook) -> None:
    before = webhook.secrets
    page = text(operator_client.get(url("webhook_secret", webhook.pk)))
    assert "For 24 hours" in page
    assert Webhook.objects.get().secrets == before
    page = text(operator_client.post(url("webhook_secret", webhook.pk)))
    (secret,) = re.findall(r"whsec_[\w+/=]+", page)
    assert Webhook.objects.get().secrets == [Secret(secret), *before]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"url": "http://receiver.example/"}, "The URL must begin with https://."),
        ({"url": "https://ann:secret@receiver.example/"}, "no user name and no password"),
        ({"url": "ftp://receiver.example/"}, "This is not a URL of a web server."),
        ({"event_types": ["export.sold"]}, "export.sold is not one of the available choices."),
        ({"event_types": []}, "This field is required."),
    ],
)
def test_what_cannot_be_set_up_is_said(
    org: Org, operator_client: Client, settings: Any, changes: dict[str, Any], error: str
) -> None:
    settings.WEBHOOK_ALLOW_HTTP = False
    assert error in text(operator_client.post(url("webhook_add"), form(org=org.pk, **changes)))
    assert not Webhook.objects.exists()


def test_an_org_has_one_webhook(org: Org, operator_client: Client, webhook: Webhook) -> None:
    page = text(operator_client.post(url("webhook_add"), form(org=org.pk)))
    assert "already exists" in page
    assert Webhook.objects.count() == 1


def test_a_disabled_webhook_says_why_and_is_made_active_again(
    operator_client: Client, webhook: Webhook
) -> None:
    Webhook.objects.update(
        active=False, disabled_at=db_now(), disabled_reason="It is gone.", failures=9
    )
    assert "It is gone." in text(operator_client.get(url("webhook_change", webhook.pk)))
    assert "disabled" in text(operator_client.get(url("webhook_changelist")))
    operator_client.post(url("webhook_change", webhook.pk), form())
    webhook.refresh_from_db()
    assert (webhook.active, webhook.disabled_at, webhook.failures) == (True, None, 0)


def test_a_notification_is_looked_at_and_delivered_again(
    operator_client: Client, webhook: Webhook, notification: Notification
) -> None:
    page = text(operator_client.get(url("notification_change", notification.pk)))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") == 2
    assert "The server answered with status 500." in page
    operator_client.get(url("notification_redeliver", notification.pk))
    assert Notification.objects.get().webhook_due_at is None
    response = operator_client.post(url("notification_redeliver", notification.pk), follow=True)
    assert messages(response) == ["The message is sent again now."]
    assert Notification.objects.get().webhook_due_at
    assert "next try:" in text(response)
    Webhook.objects.update(active=False)
    page = text(operator_client.get(url("notification_redeliver", notification.pk)))
    assert "Make a webhook active first" in page
    assert 'type="submit" class="default"' not in page
    response = operator_client.post(url("notification_redeliver", notification.pk), follow=True)
    assert messages(response) == ["There is no active webhook. Make a webhook active first."]
    assert "until there is an active webhook" in text(response)


def test_who_may_do_what(org: Org, webhook: Webhook, notification: Notification) -> None:
    viewer = logged_in(a_member(org, "vera", "Viewer"))
    stranger = logged_in(a_member(an_org("other"), "spy", "Operator"))
    pages = {
        url("webhook_changelist"): 200,
        url("webhook_add"): 200,
        url("webhook_change", webhook.pk): 302,
        url("webhook_secret", webhook.pk): 404,
        url("webhook_test", webhook.pk): 404,
        url("notification_changelist"): 200,
        url("notification_change", notification.pk): 302,
        url("notification_redeliver", notification.pk): 404,
    }
    before = webhook.secrets, webhook.url, webhook.updated_at
    for page, status in pages.items():
        assert viewer.get(page).status_code == 403, page
        assert viewer.post(page, form()).status_code == 403, page
        assert stranger.get(page).status_code == status, page
        assert "localhost:9" not in text(stranger.get(page))
        stranger.post(page, form(org=org.pk))
    webhook.refresh_from_db()
    assert (webhook.secrets, webhook.url, webhook.updated_at) == before
    assert Notification.objects.get().webhook_due_at is None
