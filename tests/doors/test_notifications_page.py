"""The page about notifications: its receiver works as it says, its tables are complete."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from kernel.db import db_now
from notifications import webhooks
from notifications.mail import ADVICE
from notifications.models import Notification, Webhook
from notifications.sending import send_due
from notifications.signing import new_secret
from tests.support.builders import a_user, an_org
from tests.support.processes import ROOT
from tests.support.servers.process import bound_to_parent, free_port

PAGE = (ROOT / "docs/notifications.md").read_text()


@pytest.mark.django_db
def test_the_receiver_takes_what_is_genuine_once(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    org, port = an_org(), free_port()
    webhook, secret = webhooks.create_webhook(
        org, url=f"http://localhost:{port}/", event_types=[], actor=a_user(org)
    )
    receiver = subprocess.Popen(
        [*bound_to_parent(), sys.executable, "-c", program],
        env={**os.environ, "WEBHOOK_SECRET": secret.reveal(), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        notification = webhooks.send_test(webhook)
        ends = time.monotonic() + 20
        while not Notification.objects.exclude(delivered_at=None).exists():
            Notification.objects.update(webhook_due_at=db_now())
            Webhook.objects.update(retry_at=None)
            send_due()
            assert time.monotonic() < ends
        attempts = notification.webhook_attempts
        assert attempts.last().status == 204
        webhooks.redeliver(notification)
        send_due()
        assert attempts.last().status == 204
        webhook.seal(new_secret())
        webhook.save(update_fields=["config_encrypted"])
        webhooks.send_test(webhook)
        send_due()
        assert Notification.objects.filter(webhook_attempts__status=400).count() == 1
    finally:
        receiver.kill()
    assert receiver.communicate()[0] == "webhook.test {}\n"


def test_the_page_has_every_event() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \|.*\| (yes)? ?\|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == [t.value for t in Webhook.CHOOSABLE]
    assert {name for name, mailed in rows if mailed} == ADVICE.keys() - {"webhook.disabled"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"WEBHOOK_DENIED_NETWORKS": ["10.0.0.0/33"]}, "notifications.E001"),
        ({"PUBLIC_URL": "orders.example.com"}, "notifications.E002"),
        ({"PUBLIC_URL": "https://orders.example.com/"}, "notifications.E002"),
        ({"MAIL_BUNDLE_MINUTES": 0}, "notifications.E003"),
        (
            {"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", "PUBLIC_URL": ""},
            "notifications.W001",
        ),
    ],
)
def test_what_the_checks_find(changes: dict[str, Any], found: str | None, settings: Any) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    ids = [check.id for check in run_checks() if (check.id or "").startswith("notifications.")]
    assert ids == ([found] if found else [])
