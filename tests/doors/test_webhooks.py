"""Webhooks on real receivers: signed, at least once, through crashes, outages and edits."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db import transaction
from django.db.models import F
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from accounts.models import Org, User
from connectors import ownership
from connectors.errors import ConnectorError
from connectors.models import DeliveryInstance
from connectors.secrets import Secret
from kernel.db import db_now
from notifications import posting, sending, webhooks
from notifications.models import EventType, Notification, Webhook, WebhookAttempt
from notifications.outbox import publish_event
from notifications.sending import send_due
from tests.support.builders import a_user, an_org
from tests.support.processes import ROOT, worker
from tests.support.servers import WebServer
from tests.support.servers.web import stay_silent
from tests.support.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def hooked(org: Org, ann: User, web: WebServer) -> tuple[Webhook, Secret]:
    return webhooks.create_webhook(org, url=web.url, event_types=Webhook.CHOOSABLE, actor=ann)


@pytest.fixture
def webhook(hooked: tuple[Webhook, Secret]) -> Webhook:
    return hooked[0]


@pytest.fixture
def secret(hooked: tuple[Webhook, Secret]) -> str:
    return hooked[1].reveal()


def happen(org: Org, count: int = 1, **data: Any) -> list[Notification]:
    """Something happens in an org, so many times."""
    before = set(Notification.objects.values_list("id", flat=True))
    with transaction.atomic():
        publish_event(
            EventType.EXPORT_SENT, org.id, lambda: [{"n": n, **data} for n in range(count)]
        )
    return list(Notification.objects.exclude(id__in=before))


def let_pass(**time: float) -> None:
    """As if so much time had passed."""
    ago = timedelta(**time)
    Notification.objects.exclude(webhook_due_at=None).update(
        webhook_due_at=F("webhook_due_at") - ago, created_at=F("created_at") - ago
    )
    Webhook.objects.update(retry_at=F("retry_at") - ago, failing_since=F("failing_since") - ago)


def send_all() -> None:
    while send_due():
        pass


def test_a_message_is_what_the_specification_says(
    org: Org, web: WebServer, webhook: Webhook, secret: str
) -> None:
    [notification] = happen(org, note="größer")
    assert send_due() == 1
    assert send_due() == 0
    (received,) = web.received
    # The reference library checks signature and time.
    body = Verifier(secret).verify(received.body, dict(received.headers))
    assert body == {
        "type": "export.sent",
        "timestamp": notification.created_at.isoformat(),
        "data": {"n": 0, "note": "größer"},
    }
    assert received.headers["webhook-id"] == f"msg_{notification.id.hex}"
    assert received.headers["Content-Type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(received.body + b" ", dict(received.headers))
    notification.refresh_from_db()
    assert notification.delivered_at
    attempt = notification.webhook_attempts.get()
    assert (attempt.status, attempt.error, attempt.response) == (200, "", "thank you")


def test_a_new_secret_and_the_former_one_sign_for_a_day(
    org: Org, web: WebServer, webhook: Webhook, secret: str, ann: User
) -> None:
    new = webhooks.replace_secret(webhook.id, actor=ann).reveal()
    happen(org)
    send_due()
    Webhook.objects.update(secret_set_at=db_now() - timedelta(hours=25))
    happen(org)
    send_due()
    first, second = web.received
    for received, known in ((first, secret), (first, new), (second, new)):
        Verifier(known).verify(received.body, dict(received.headers))
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(second.body, dict(second.headers))


def test_a_receiver_that_was_down_gets_everything_later(
    org: Org, web: WebServer, webhook: Webhook
) -> None:
    web.status, web.body = 503, b"<b>down"
    happen(org, 3)
    assert send_due() == 3
    # Then one goes ahead, at growing intervals.
    assert send_due() == 0
    for expected in (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2)):
        webhook.refresh_from_db()
        assert webhook.retry_at
        assert timedelta() < webhook.retry_at - db_now() <= expected
        let_pass(minutes=10)
        assert send_due() == 1
    assert WebhookAttempt.objects.filter(status=503, response="<b>down").count() == 6
    assert not Notification.objects.exclude(delivered_at=None).exists()
    web.status = 200
    let_pass(hours=1)
    assert send_due() == 1
    assert send_due() == 2
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.failing_since, webhook.retry_at) == (0, None, None)
    assert not Notification.objects.filter(delivered_at=None).exists()


def test_one_message_that_is_refused_holds_up_no_other(org: Org, web: WebServer) -> None:
    webhooks.create_webhook(org, url=web.url, event_types=Webhook.CHOOSABLE, actor=a_user(org, "x"))

    def refuse(handler: Any) -> None:
        web.status = 400 if json.loads(web.received[-1].body)["data"].get("bad") else 200

    web.before = refuse
    [bad] = happen(org, bad=True)
    send_due()
    happen(org, 5)
    assert send_due() == 0
    for _ in range(4):
        let_pass(seconds=40)
        send_all()
    assert set(Notification.objects.exclude(delivered_at=None)) == set(
        Notification.objects.exclude(id=bad.id)
    )
    bad.refresh_from_db()
    assert bad.attempts == 3
    assert bad.webhook_due_at
    let_pass(days=3)
    send_all()
    bad.refresh_from_db()
    assert (bad.webhook_due_at, bad.delivered_at) == (None, None), "given up after three days"


def test_a_receiver_that_does_not_answer_holds_up_no_other_org(
    org: Org, web: WebServer, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "EXCHANGE_SECONDS", 1.0)
    other = an_org("other")
    with WebServer(before=stay_silent) as silent:
        webhooks.create_webhook(
            other, url=silent.url, event_types=Webhook.CHOOSABLE, actor=a_user(other, "bob")
        )
        happen(other, 100)
        happen(org, 100)
        began = time.monotonic()
        send_all()
        took = time.monotonic() - began
    assert Notification.objects.filter(org=org, delivered_at=None).count() == 0
    assert len(silent.received) <= sending.AT_ONCE // 2
    assert took < 8


# Crashes and other workers.


@pytest.mark.parametrize("failpoint", ["webhooks_claimed", "webhooks_sent"])
def test_a_killed_worker_loses_nothing(
    failpoint: str, org: Org, web: WebServer, webhook: Webhook, child_env: dict[str, str]
) -> None:
    happen(org, 3)
    program = "import django; django.setup(); from notifications import sending; sending.send_due()"
    died = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        env={**child_env, "ORDERFLOW_FAILPOINT": failpoint},
    )
    assert died.returncode == -9
    was_sent = failpoint == "webhooks_sent"
    assert len(web.received) == 3 * was_sent
    assert send_due() == 0, "the claims of the dead worker hold for a while"
    let_pass(minutes=2)
    assert send_due() == 3
    ids = {received.headers["webhook-id"] for received in web.received}
    assert (len(ids), len(web.received)) == (3, 6 if was_sent else 3)
    assert not Notification.objects.filter(delivered_at=None).exists()


def test_two_workers_do_not_send_the_same(org: Org, web: WebServer, webhook: Webhook) -> None:
    happen(org, 200)

    def work() -> None:
        send_all()
        database.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A worker that finds everything claimed by others has ended.
    send_all()
    ids = [received.headers["webhook-id"] for received in web.received]
    assert len(ids) == len(set(ids)) == 200


def test_what_another_worker_has_delivered_stays_delivered(
    org: Org, web: WebServer, webhook: Webhook
) -> None:
    [notification] = happen(org)

    def overtake(handler: Any) -> None:
        Notification.objects.update(delivered_at=db_now(), webhook_due_at=None)
        database.close()

    web.status, web.before = 500, overtake
    send_due()
    notification.refresh_from_db()
    assert notification.webhook_due_at is None
    assert notification.delivered_at


def test_what_is_pruned_while_it_is_sent_holds_up_no_other(
    org: Org, web: WebServer, webhook: Webhook
) -> None:
    old, young = happen(org, 2)
    long_ago = db_now() - webhooks.KEPT_FOR
    Notification.objects.filter(id=old.id).update(created_at=long_ago)

    def prune(handler: Any) -> None:
        webhooks.prune()
        database.close()

    web.before = prune
    assert send_due() == 2
    assert Notification.objects.get().delivered_at
    assert WebhookAttempt.objects.get().notification == young


def test_the_worker_sends_soon(
    org: Org, web: WebServer, webhook: Webhook, child_env: dict[str, str]
) -> None:
    with worker(child_env):
        happen(org, 2)
        until(lambda: not Notification.objects.filter(delivered_at=None).exists())
    assert len(web.received) == 2


def test_a_copy_of_the_database_sends_nothing(org: Org, web: WebServer, webhook: Webhook) -> None:
    happen(org)
    DeliveryInstance.objects.update(name="elsewhere")
    assert send_due() == 0
    assert not web.received
    ownership.claim()
    assert send_due() == 1


# Failing for good, edits, and by hand.


def test_a_webhook_that_fails_for_days_is_disabled(
    org: Org, web: WebServer, webhook: Webhook, ann: User
) -> None:
    web.status = 500
    happen(org)
    send_due()
    let_pass(days=4)
    happen(org)
    send_all()
    webhook.refresh_from_db()
    assert webhook.active
    let_pass(days=1, seconds=10)
    send_all()
    webhook.refresh_from_db()
    assert not webhook.active
    assert "The server answered with status 500." in webhook.disabled_reason
    # Nothing is lost of what may still be sent; nothing more is noted.
    assert happen(org) == []
    web.status = 200
    webhooks.change_webhook(
        webhook.id, url=web.url, event_types=[EventType.EXPORT_SENT], active=True, actor=ann
    )
    let_pass(hours=1)
    count = len(web.received)
    send_all()
    assert len(web.received) == count + 1
    webhook.refresh_from_db()
    assert (webhook.disabled_at, webhook.disabled_reason) == (None, "")


def test_a_receiver_that_is_gone_is_believed(org: Org, web: WebServer, webhook: Webhook) -> None:
    web.status = 410
    happen(org)
    send_due()
    webhook.refresh_from_db()
    assert not webhook.active
    assert "status 410" in webhook.disabled_reason


def test_deliver_again_and_test(org: Org, web: WebServer, webhook: Webhook, secret: str) -> None:
    [notification] = happen(org)
    send_due()
    assert webhooks.redeliver(notification)
    web.status = 500
    send_due()
    webhooks.send_test(webhook)
    web.status = 200
    let_pass(minutes=1)
    send_all()
    first, again, *rest = web.received
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert sorted(json.loads(received.body)["type"] for received in rest) == [
        "export.sent",
        "webhook.test",
    ]
    Webhook.objects.update(active=False)
    assert not webhooks.redeliver(notification)


def test_a_secret_that_no_key_opens_is_said_and_replaced(
    org: Org, web: WebServer, webhook: Webhook, ann: User
) -> None:
    webhook.config_encrypted.ciphertext = "lost"
    webhook.save(update_fields=["config_encrypted"])
    happen(org)
    send_due()
    attempt = WebhookAttempt.objects.get()
    assert (attempt.status, attempt.error[:26]) == (None, "The secret cannot be read:")
    new = webhooks.replace_secret(webhook.id, actor=ann).reveal()
    let_pass(minutes=1)
    send_due()
    (received,) = web.received
    Verifier(new).verify(received.body, dict(received.headers))


def test_a_secret_of_another_webhook_is_refused(webhook: Webhook, ann: User) -> None:
    other, _ = webhooks.create_webhook(an_org("other"), url="http://x/", event_types=[], actor=ann)
    Webhook.objects.filter(id=webhook.id).update(config_encrypted=other.config_encrypted)
    webhook.refresh_from_db()
    with pytest.raises(ConnectorError):
        _ = webhook.secrets


def test_the_secret_is_nowhere_in_plain_text(
    org: Org,
    web: WebServer,
    webhook: Webhook,
    secret: str,
    ann: User,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    new = webhooks.replace_secret(webhook.id, actor=ann).reveal()
    web.status = 500
    happen(org)
    send_due()
    call_command("dumpdata", "notifications")
    dump = capsys.readouterr().out
    assert str(webhook.id) in dump
    assert "status 500" in caplog.text
    said = [
        dump,
        caplog.text,
        repr(webhook),
        *(str(r.headers) + repr(r.body) for r in web.received),
    ]
    for text in said:
        for known in (secret, new):
            assert known.removeprefix("whsec_") not in text
