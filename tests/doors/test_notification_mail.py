"""Mail through a real SMTP server: one mail for several events, to people who can act on them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.db import transaction
from django.db.models import F

from accounts.models import Membership, Org, User
from connectors import circuit_breaker, ownership
from connectors.errors import ConnectorError
from connectors.models import DeliveryInstance, ErpConnection
from exports.delivery.outcomes import fail
from kernel.db import db_now
from notifications.mail import send_due
from notifications.models import EventType, Notification
from notifications.outbox import publish_event
from notifications.sending import DISABLE_AFTER
from notifications.sending import send_due as send_webhooks
from notifications.webhooks import create_webhook, send_test
from tests.support.admins import a_member
from tests.support.builders import a_connection, an_org, some_exports
from tests.support.processes import ROOT
from tests.support.servers import WebServer
from tests.support.servers.process import HOST, free_port

pytestmark = pytest.mark.django_db(transaction=True)


class MailServer:
    """`received`: who got which message; `refused`: an address that nobody has there."""

    def __init__(self) -> None:
        self.received: list[tuple[list[str], EmailMessage]] = []
        self.refused = ""
        self.port = free_port()

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == self.refused:
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.received.append((sorted(envelope.rcpt_tos), message))
        return "250 OK"

    def start(self) -> None:
        self._controller = Controller(self, hostname=HOST, port=self.port)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop(no_assert=True)


@pytest.fixture
def smtp(settings: Any) -> Iterator[MailServer]:
    server = MailServer()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = HOST, server.port
    settings.DEFAULT_FROM_EMAIL = "orderflow@acme.example"
    settings.PUBLIC_URL = "https://orders.acme.example"
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _connected(erp: ErpConnection, oskar: User) -> None:
    """There is a connection with an operator, and nothing is noted yet."""
    Notification.objects.all().delete()


def let_pass(minutes: float) -> None:
    """As if so much time had passed."""
    ago = timedelta(minutes=minutes)
    Notification.objects.exclude(mail_due_at=None).update(
        mail_due_at=F("mail_due_at") - ago, created_at=F("created_at") - ago
    )


def body(message: EmailMessage) -> str:
    return str(message.get_content()).replace("\r\n", "\n")


def test_one_mail_tells_what_has_happened_and_what_to_do(
    smtp: MailServer, org: Org, erp: ErpConnection, oskar: User
) -> None:
    a_member(org, "otto", "Operator")
    a_member(org, "vera", "Viewer")
    a_member(an_org("other"), "spy", "Operator")
    exports = some_exports(org, oskar, 30)
    with transaction.atomic():
        for export in exports:
            public = "Wer ist „4711“?\n\nWhat to do: pay"
            report = ConnectorError("ERP_REFUSED", public=public).as_json()
            assert fail(export, dict(report))
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    assert send_due() == 0, "more may come"
    let_pass(minutes=5)
    circuit_breaker.resume(erp.id)
    assert send_due() == 1
    assert send_due() == 0
    [(to, message)] = smtp.received
    assert to == ["oskar@acme.example", "otto@acme.example"]
    assert message["From"] == "orderflow@acme.example"
    assert message.get_content_type() == "text/plain"
    assert message["Subject"] == (
        "[Orderflow] Acme: export failed (30), connection paused (1), connection works again (1)"
    )
    text = body(message)
    assert re.search(r"\n- \S+ \S+ PO-\d+: Wer ist „4711“\? What to do: pay\n", text)
    links = re.findall("https://orders.acme.example/admin/exports/erpexport/(.*)/change/", text)
    assert set(links) < {str(export.id) for export in exports}
    assert f"https://orders.acme.example/admin/connectors/erpconnection/{erp.id}/change/" in text
    assert "What to do: Correct the order as the ERP says, approve it and push it again." in text
    assert text.count("Correct the credentials") == 1, "only while there is something to do"
    assert len(links) == 20 and "and 10 more." in text
    assert not Notification.objects.filter(mailed_at=None).exists()


def test_nobody_gets_mail_who_does_not_want_it(
    smtp: MailServer, org: Org, erp: ErpConnection, oskar: User
) -> None:
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    Membership.objects.filter(user=oskar).update(gets_mail=False)
    let_pass(minutes=5)
    assert send_due() == 0
    assert not Notification.objects.filter(mail_due_at__isnull=False).exists()
    circuit_breaker.resume(erp.id)
    assert Notification.objects.count() == 1
    Membership.objects.filter(user=oskar).update(gets_mail=True)
    User.objects.filter(id=oskar.id).update(is_active=False)
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    assert Notification.objects.count() == 1
    assert not smtp.received


def test_without_a_mail_server_nothing_is_noted(erp: ErpConnection, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    assert not Notification.objects.exists()


def test_a_mail_server_that_is_down_gets_it_later(smtp: MailServer, erp: ErpConnection) -> None:
    smtp.stop()
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    let_pass(minutes=5)
    assert send_due() == 0
    smtp.start()
    assert send_due() == 0, "it is left alone for a while"
    let_pass(minutes=10)
    assert send_due() == 1
    assert len(smtp.received) == 1


def test_an_org_whose_addresses_are_refused_holds_up_no_other(
    smtp: MailServer, erp: ErpConnection
) -> None:
    smtp.refused = "oskar@acme.example"
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    other = an_org("other")
    a_member(other, "otto", "Operator")
    assert erp.org.name < other.name, "it comes first"
    circuit_breaker.record_failure(
        a_connection(other, {"mode": "filesystem", "export_path": erp.config["export_path"]}),
        ConnectorError("AUTH_FAILED"),
    )
    let_pass(minutes=5)
    assert send_due() == 1
    assert [to for to, _ in smtp.received] == [["otto@other.example"]]


def test_what_nobody_took_for_days_is_given_up(smtp: MailServer, erp: ErpConnection) -> None:
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    let_pass(minutes=3 * 24 * 60 + 1)
    assert send_due() == 0
    assert not Notification.objects.filter(mail_due_at__isnull=False).exists()
    assert not smtp.received


def test_a_copy_of_the_database_mails_nothing(smtp: MailServer, erp: ErpConnection) -> None:
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    let_pass(minutes=5)
    DeliveryInstance.objects.update(name="elsewhere")
    assert send_due() == 0
    assert not smtp.received
    ownership.claim()
    assert send_due() == 1


def test_a_killed_worker_loses_no_mail(
    smtp: MailServer, erp: ErpConnection, child_env: dict[str, str]
) -> None:
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    let_pass(minutes=5)
    program = "import django; django.setup(); from notifications import mail; mail.send_due()"
    env = {
        **child_env,
        "ORDERFLOW_FAILPOINT": "mailed",
        "EMAIL_URL": f"smtp://{HOST}:{smtp.port}",
    }
    died = subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT, env=env)
    assert died.returncode == -9
    assert send_due() == 0
    let_pass(minutes=10)
    assert send_due() == 1
    assert len(smtp.received) == 2


def test_a_name_makes_no_header(smtp: MailServer, org: Org, oskar: User) -> None:
    Org.objects.update(name="Acme\r\nBcc: spy@example.com")
    with transaction.atomic():
        data = {"connection_id": str(org.id), "connector_type": "x\n--\nhttp://evil.example"}
        publish_event(EventType.CONNECTION_PAUSED, org.id, lambda: [data])
    let_pass(minutes=5)
    send_due()
    [(to, message)] = smtp.received
    assert to == ["oskar@acme.example"]
    assert message["Bcc"] is None
    assert message["Subject"].startswith("[Orderflow] Acme Bcc: spy@example.com: connection")
    assert "x -- http://evil.example" in body(message)


def test_a_disabled_webhook_is_told_of(smtp: MailServer, org: Org, oskar: User) -> None:
    with WebServer(status=500) as web:
        webhook, _ = create_webhook(org, url=web.url, event_types=[], actor=oskar)
        type(webhook).objects.update(failing_since=db_now() - DISABLE_AFTER - timedelta(minutes=1))
        send_test(webhook)
        send_webhooks()
    let_pass(minutes=5)
    assert send_due() == 1
    [(_, message)] = smtp.received
    assert "webhook disabled (1)" in message["Subject"]
    assert "The server answered with status 500." in body(message)
    assert f"/admin/notifications/webhook/{webhook.id}/change/" in body(message)
