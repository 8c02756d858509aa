"""/metrics: who may read it, what it says, what it costs, and that its page says the same."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from connectors import circuit_breaker
from connectors.models import DeliveryInstance, ErpConnection
from exports.checks import check_metrics_token
from exports.delivery import heartbeat
from exports.models import ErpAck, ErpExport, ErpExportEvent, Worker
from exports.reporting import counters
from exports.reporting.metrics import REGISTRY
from kernel.db import db_now
from notifications.models import EventType, Notification, Webhook
from notifications.webhooks import create_webhook
from tests.support.builders import a_connection, a_user, an_org, pause_by_system, some_exports
from tests.support.processes import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.usefixtures("without_lag")]

TOKEN = "t" * 32
CONFIG = {"mode": "sftp", "host": "erp.example", "username": "u", "password": "canary-4711"}
CONFIG |= {"export_path": "/out", "host_keys": []}
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


def some(remote: ErpConnection, count: int, **fields: Any) -> list[ErpExport]:
    """Exports that came as far as the fields say."""
    first = ErpExport.objects.count()
    exports = some_exports(remote.org, a_user(remote.org, f"ann-{first}"), count, first=first)
    ErpExport.objects.filter(id__in=[e.id for e in exports]).update(**fields)
    return exports


def sent(remote: ErpConnection, count: int, **fields: Any) -> list[ErpExport]:
    return some(remote, count, status="SENT", sent_at=db_now(), sent_evidence="OBSERVED", **fields)


def note(exports: list[ErpExport], kind: str, status: str, **fields: Any) -> None:
    for export in exports:
        ErpExportEvent.objects.create(export=export, kind=kind, status=status, **fields)


def scrape() -> str:
    response = Client(headers={"Authorization": f"Bearer {TOKEN}"}).get("/metrics")
    assert response.status_code == 200
    return response.content.decode()


def value(name: str, remote: ErpConnection | None = None, **labels: str) -> float | None:
    """The one value that a scrape gives; None if there is none."""
    if remote:
        labels |= {"connection": str(remote.id), "org": remote.org.name}
    found = [
        sample.value
        for family in parse(scrape())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) < 2
    return found[0] if found else None


# Who may read it.


def test_without_a_token_in_the_settings_it_is_not_served(settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    for header in ("Bearer ", "Bearer", f"Bearer {TOKEN}"):
        client = Client(headers={"Authorization": header})
        assert client.get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 404


@pytest.mark.parametrize("header", ["", "Bearer", f"Bearer {TOKEN}x", TOKEN, "Bearer \xe4"])
def test_a_wrong_token_reads_nothing(header: str) -> None:
    response = Client(headers={"Authorization": header}).get("/metrics")
    assert (response.status_code, response.content) == (401, b"")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_token_that_could_be_guessed_is_refused(settings: Any) -> None:
    assert check_metrics_token() == []
    settings.METRICS_TOKEN = "short"
    assert [error.id for error in check_metrics_token()] == ["exports.E003"]


def test_it_is_given_in_the_format_that_is_asked_for(remote: ErpConnection) -> None:
    some(remote, 1)
    accept = "application/openmetrics-text; version=1.0.0"
    response = Client(headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept}).get(
        "/metrics"
    )
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert list(parse_openmetrics(response.content.decode()))
    assert "no-store" in response["Cache-Control"]


# What it says.


def test_what_waits_is_counted_by_connection(remote: ErpConnection) -> None:
    other = a_connection(an_org("rival"), CONFIG)
    some(remote, 2, created_at=db_now() - HOUR)
    some(remote, 1, next_attempt_at=None)
    sent(remote, 1)
    sent(remote, 2, ack_due_at=db_now() + HOUR)
    sent(remote, 3, ack_due_at=db_now() - HOUR)
    ErpConnection.objects.update(last_poll_at=db_now())
    for name, mine in {"pending": 3, "undecided": 1, "awaited": 5, "overdue": 3}.items():
        assert value(f"orderflow_exports_{name}", remote) == mine, name
        assert value(f"orderflow_exports_{name}", other) == 0, name
    age = value("orderflow_oldest_pending_age_seconds", remote)
    assert age and 3600 <= age < 3700
    assert value("orderflow_oldest_pending_age_seconds", other) == 0


def test_answers_that_wait_for_a_person_are_counted(remote: ErpConnection) -> None:
    for number, (classification, fields) in enumerate(
        [("CONFLICT", {}), ("CONFLICT", {}), ("LATE", {"decided_at": db_now()}), ("APPLIED", {})]
    ):
        ErpAck.objects.create(
            org=remote.org,
            erp_connection=remote,
            filename=f"ack_{number}.json",
            sha256="0",
            raw="{}",
            classification=classification,
            **fields,
        )
    assert value("orderflow_acks_open", remote, classification="CONFLICT") == 2
    assert value("orderflow_acks_open", remote, classification="LATE") == 0
    assert value("orderflow_acks_open", remote, classification="APPLIED") is None


def test_connections_in_use_say_how_they_do(remote: ErpConnection) -> None:
    assert value("orderflow_connection_paused", remote, reason="") == 0
    assert value("orderflow_connection_poll_age_seconds", remote) is None
    ErpConnection.objects.update(failures=4, last_poll_at=db_now() - HOUR)
    assert value("orderflow_connection_failures", remote) == 4
    assert (value("orderflow_connection_poll_age_seconds", remote) or 0) >= 3600
    pause_by_system(remote, "AUTH_FAILED")
    assert value("orderflow_connection_paused", remote, reason="AUTH_FAILED") == 1
    circuit_breaker.pause(remote.id, reason="Ms Private is ill", actor=a_user(remote.org))
    assert value("orderflow_connection_paused", remote, reason="PERSON") == 1
    assert "Private" not in scrape()
    ErpConnection.objects.update(active=False)
    assert value("orderflow_connection_paused", remote, reason="PERSON") is None


def test_what_was_done_is_counted_for_ever(remote: ErpConnection) -> None:
    exports = some(remote, 3, created_at=db_now() - HOUR)
    ErpExport.objects.update(sent_at=db_now())
    note(exports, "ATTEMPT_FAILED", "PENDING", detail={"code": "DNS"})
    for export, seconds in zip(exports, (1, 7, 10_000), strict=True):
        export.refresh_from_db()
        assert export.sent_at
        note([export], "SENT", "SENT", at=export.created_at + timedelta(seconds=seconds))
        note([export], "ACKED", "ACKED", at=export.sent_at + timedelta(minutes=2))
    note(exports[:1], "REFUSED", "FAILED")
    assert value("orderflow_exports_total", remote, outcome="sent") == 0
    assert value("orderflow_events_uncounted") == ErpExportEvent.objects.latest("id").id
    for _ in range(2):
        counters.count_events()
    ErpExportEvent.objects.all().delete()
    for outcome, count in {"created": 3, "sent": 3, "acked": 3, "failed": 1}.items():
        assert value("orderflow_exports_total", remote, outcome=outcome) == count, outcome
    assert value("orderflow_export_failures_total", remote, code="ERP_REFUSED") == 1
    assert value("orderflow_attempt_failures_total", remote, code="DNS") == 3
    for bound, count in {"1": 1, "5": 1, "10": 2, "3600": 2, "14400": 3, "+Inf": 3}.items():
        assert value("orderflow_send_duration_seconds_bucket", remote, le=bound) == count, bound
    assert value("orderflow_send_duration_seconds_count", remote) == 3
    assert value("orderflow_send_duration_seconds_sum", remote) == 10_008
    assert value("orderflow_ack_duration_seconds_sum", remote) == pytest.approx(360)
    assert value("orderflow_events_uncounted") == 0


def a_webhook(remote: ErpConnection, name: str) -> dict[str, str]:
    """The labels by which a new webhook is known."""
    webhook, _ = create_webhook(
        remote.org, url="http://localhost:9/", event_types=[], actor=a_user(remote.org, name)
    )
    return {"webhook": str(webhook.id), "org": remote.org.name}


def told(remote: ErpConnection, count: int, **fields: Any) -> None:
    Notification.objects.bulk_create(
        Notification(
            org=remote.org,
            event_type=EventType.EXPORT_SENT,
            data={},
            **{"created_at": db_now(), **fields},
        )
        for _ in range(count)
    )


def test_webhooks_say_what_waits_for_them(remote: ErpConnection) -> None:
    other = a_connection(an_org("rival"), CONFIG)
    mine = a_webhook(remote, "ann")
    theirs = a_webhook(other, "bob")
    told(remote, 2, created_at=db_now() - HOUR, webhook_due_at=db_now() + HOUR, attempts=3)
    told(remote, 1, webhook_due_at=db_now())
    told(remote, 4, created_at=db_now() - 2 * HOUR)  # given up
    assert value("orderflow_webhook_backlog", **mine) == 3
    assert value("orderflow_webhook_backlog", **theirs) == 0
    assert 3600 <= (value("orderflow_webhook_oldest_age_seconds", **mine) or 0) < 3700
    assert value("orderflow_webhook_oldest_age_seconds", **theirs) == 0


def test_webhooks_in_use_say_how_they_do(remote: ErpConnection) -> None:
    labels = a_webhook(remote, "ann")
    assert value("orderflow_webhook_failures", **labels) == 0
    assert value("orderflow_webhook_disabled", **labels) == 0
    Webhook.objects.update(
        failures=7, active=False, disabled_at=db_now(), disabled_reason="It is gone."
    )
    assert value("orderflow_webhook_failures", **labels) == 7
    assert value("orderflow_webhook_disabled", **labels) == 1
    Webhook.objects.update(disabled_at=None, disabled_reason="")
    assert value("orderflow_webhook_disabled", **labels) is None, "a person has switched it off"


def test_mails_that_wait_are_counted(remote: ErpConnection) -> None:
    assert value("orderflow_mail_oldest_age_seconds") == 0
    told(remote, 2, created_at=db_now() - HOUR, mail_due_at=db_now() + HOUR)
    told(remote, 1, created_at=db_now() - 2 * HOUR)  # given up
    assert value("orderflow_mail_backlog") == 2
    assert 3600 <= (value("orderflow_mail_oldest_age_seconds") or 0) < 3700


def test_an_installation_that_must_not_deliver_says_so() -> None:
    assert value("orderflow_delivery_barred") == 0
    DeliveryInstance.objects.update(name="another")
    assert value("orderflow_delivery_barred") == 1


def test_the_machinery_says_how_it_does(remote: ErpConnection) -> None:
    assert value("orderflow_workers") == 0
    worker, died = heartbeat.register(), heartbeat.register()
    labels = {"host": worker.host, "pid": str(worker.pid)}
    Worker.objects.filter(id=died.id).update(beat_at=db_now() - HOUR)
    assert value("orderflow_workers") == 1
    assert (value("orderflow_worker_heartbeat_age_seconds", **labels) or 0) < 60
    some(remote, 2, created_at=db_now() - HOUR)
    some(remote, 1, archived_at=db_now(), created_at=db_now() - 2 * HOUR)
    assert value("orderflow_archive_backlog") == 2
    assert 3600 <= (value("orderflow_archive_oldest_age_seconds") or 0) < 3700


def test_an_org_may_be_called_anything(remote: ErpConnection) -> None:
    remote.org.name = 'Müller "&" Söhne\\\n} 1'
    remote.org.save()
    assert value("orderflow_exports_pending", remote) == 0


def test_no_secret_is_told(remote: ErpConnection) -> None:
    some(remote, 1)
    text = scrape()
    assert "canary" not in text and "erp.example" not in text and TOKEN not in text


# What it costs.


def test_a_scrape_takes_the_same_few_queries_for_any_number_of_connections(
    remote: ErpConnection,
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(database) as captured:
            scrape()
        return len(captured)

    some(remote, 1)
    few = queries()
    for number in range(5):
        another = a_connection(an_org(f"org-{number}"), CONFIG)
        some(another, 3)
        a_webhook(another, f"bob-{number}")
        told(another, 3, webhook_due_at=db_now(), mail_due_at=db_now())
    for _ in range(2):
        counters.count_events()
    assert queries() == few < 25


@pytest.mark.skipif(database.vendor != "postgresql", reason="asks PostgreSQL's planner")
def test_what_waits_is_found_beside_all_that_was_told(remote: ErpConnection) -> None:
    told(remote, 5000)
    told(remote, 3, webhook_due_at=db_now(), mail_due_at=db_now())
    with CaptureQueriesContext(database) as captured:
        scrape()
    asked = [query["sql"] for query in captured if 'FROM "notification"' in query["sql"]]
    with database.cursor() as cursor:
        cursor.execute("ANALYZE notification")
        plans = []
        for query in asked:
            cursor.execute(f"EXPLAIN {query}")
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
    webhook, mail = plans
    assert "idx_notification_webhook_due" in webhook, webhook
    assert "idx_notification_mail_due" in mail, mail


# What is written about it.


def test_every_metric_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = {
        (name, kind, labels, text)
        for name, kind, labels, text in re.findall(
            r"^\| `(orderflow_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", page, re.MULTILINE
        )
    }
    exposed = {
        (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            ", ".join(family._labelnames),
            family.documentation,
        )
        for family in REGISTRY.collect()
    }
    assert documented == exposed
