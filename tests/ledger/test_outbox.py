"""The outbox: each transition adds one notification, in its own transaction."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from accounts.models import Org, User
from connectors import circuit_breaker, configuring
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.acks import review
from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import cancel_export
from exports.resolution.manual import Resolution, resolve
from kernel.db import db_now
from kernel.dry_run import dry_run
from notifications.models import EventType, Notification, Webhook
from notifications.webhooks import change_webhook, create_webhook, prune
from tests.support.admins import a_member
from tests.support.builders import an_org, some_exports
from tests.support.dropzones import Dropzone

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

NOWHERE = "http://localhost:9/"


@pytest.fixture(autouse=True)
def _connected(erp: ErpConnection) -> None:
    """There is a connection, and nothing is noted yet."""
    Notification.objects.all().delete()


@pytest.fixture
def webhook(org: Org, ann: User) -> Webhook:
    return create_webhook(org, url=NOWHERE, event_types=Webhook.CHOOSABLE, actor=ann)[0]


def answer(dropzone: Dropzone, export: ErpExport, **said: Any) -> None:
    kind = "ack" if said["status"] == "ACKED" else "error"
    (dropzone.acks / f"{kind}_{export.filename}").write_text(json.dumps(said))


def noted() -> list[tuple[str, dict[str, Any]]]:
    """What was noted since the last look, in the order in which it happened."""
    rows = list(Notification.objects.order_by("created_at").values_list("event_type", "data"))
    Notification.objects.all().delete()
    return rows


def types() -> list[str]:
    return [event_type for event_type, _ in noted()]


def test_what_becomes_of_an_export(
    webhook: Webhook, erp: ErpConnection, dropzone: Dropzone, org: Org, ann: User
) -> None:
    good, bad, late = some_exports(org, ann, 3)
    assert types() == []
    ErpConnection.objects.update(ack_deadline=timedelta(seconds=1))
    deliver(erp.id)
    sent = noted()
    assert [event_type for event_type, _ in sent] == [EventType.EXPORT_SENT] * 3
    data = next(data for _, data in sent if data["export_id"] == str(good.id))
    assert data == {
        "export_id": str(good.id),
        "order_id": str(good.draft_order_id),
        "order_number": "PO-0",
        "connection_id": str(erp.id),
        "filename": good.filename,
        "status": "SENT",
        "erp_order_id": None,
        "sent_at": data["sent_at"],
        "acked_at": None,
        "ack_due_at": data["ack_due_at"],
        "error": None,
    }
    answer(dropzone, good, status="ACKED", erp_order_id="SO-1")
    answer(dropzone, bad, status="FAILED", error_code="NO_CUSTOMER", message="Who is that?")
    poll(erp.id)
    acked, failed = noted()
    assert (acked[0], acked[1]["erp_order_id"]) == ("export.acked", "SO-1")
    assert (failed[0], failed[1]["error"]["erp_code"]) == ("export.failed", "NO_CUSTOMER")
    ErpExport.objects.filter(id=late.id).update(ack_due_at=db_now())
    poll(erp.id)
    [overdue] = noted()
    assert (overdue[0], overdue[1]["export_id"]) == ("export.overdue", str(late.id))
    # It stays overdue, which is no news.
    poll(erp.id)
    answer(dropzone, good, status="FAILED", error_code="OOPS", message="Rather not")
    poll(erp.id)
    [conflict] = noted()
    assert (conflict[0], conflict[1]["export_id"]) == ("ack.conflict", str(good.id))
    assert conflict[1]["ack_id"] == str(ErpAck.objects.get(classification="CONFLICT").id)
    assert conflict[1]["answer"]["error_code"] == "OOPS"
    poll(erp.id)
    assert types() == []


def test_what_a_person_makes_of_exports(
    webhook: Webhook, erp: ErpConnection, dropzone: Dropzone, org: Org, ann: User
) -> None:
    cancelled, given_up, _ = some_exports(org, ann, 3)
    cancel_export(cancelled.id, actor=ann, reason="no")
    [(event_type, data)] = noted()
    assert (event_type, data["error"]["code"]) == ("export.failed", "CANCELLED")
    deliver(erp.id)
    (dropzone.exports / given_up.filename).unlink()
    noted()
    resolve(given_up.id, Resolution.GIVEN_UP, actor=ann, reason="lost")
    assert types() == ["export.failed"]
    (dropzone.acks / "ack_sales_order_typo.json").write_text('{"status": "ACKED"}')
    poll(erp.id)
    ack = ErpAck.objects.get()
    review.assign(ack.id, given_up.id, actor=ann, reason="I know")
    assert types() == ["ack.conflict"]
    review.accept(ack.id, actor=ann, reason="it is so")
    assert types() == ["export.acked"]


def test_what_becomes_of_a_connection(webhook: Webhook, erp: ErpConnection, ann: User) -> None:
    error = ConnectorError("AUTH_FAILED", public="The server refuses the key.")
    circuit_breaker.record_failure(erp, error)
    circuit_breaker.record_failure(erp, error)
    [(event_type, data)] = noted()
    assert (event_type, data["connection_id"]) == ("connection.paused", str(erp.id))
    assert (data["pause_reason"], data["paused_by"]) == ("AUTH_FAILED", None)
    assert data["pause_code"] == "AUTH_FAILED"
    assert data["error"]["message"] == "The server refuses the key."
    # Somebody takes the pause over, which is no other one.
    assert circuit_breaker.pause(erp.id, reason="holiday", actor=ann)
    assert types() == []
    assert circuit_breaker.resume(erp.id)
    [(event_type, data)] = noted()
    assert (event_type, data["paused_by"]) == ("connection.recovered", "ann@acme.example")
    assert not circuit_breaker.resume(erp.id)
    assert circuit_breaker.pause(erp.id, reason="holiday", actor=ann)
    assert not circuit_breaker.pause(erp.id, reason="again", actor=ann)
    [(event_type, data)] = noted()
    assert (event_type, data["paused_by"]) == ("connection.paused", "ann@acme.example")
    assert (data["pause_reason"], data["pause_code"]) == ("holiday", "BY_PERSON")
    circuit_breaker.resume(erp.id)
    noted()
    configuring.change_config(erp, {**erp.config, "export_path": erp.config["ack_path"]})
    [(event_type, data)] = noted()
    assert (event_type, data["pause_reason"]) == ("connection.paused", "NEVER_TESTED")
    configuring.change_config(erp, {**erp.config, "file_mode": "0640"})
    assert types() == []


@pytest.mark.usefixtures("webhook")
def test_what_is_rolled_back_is_not_noted(erp: ErpConnection, org: Org, ann: User) -> None:
    [export] = some_exports(org, ann)
    with dry_run():
        cancel_export(export.id, actor=ann, reason="no")
        circuit_breaker.pause(erp.id, reason="no", actor=ann)
        assert Notification.objects.count() == 2
    assert types() == []


def test_nothing_is_noted_for_nobody(erp: ErpConnection, org: Org, ann: User) -> None:
    webhook, _ = create_webhook(org, url=NOWHERE, event_types=["export.acked"], actor=ann)
    create_webhook(an_org("other"), url=NOWHERE, event_types=Webhook.CHOOSABLE, actor=ann)
    some_exports(org, ann)
    deliver(erp.id)
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    assert types() == []
    every = list(Webhook.CHOOSABLE)
    change_webhook(webhook.id, url=NOWHERE, event_types=every, active=False, actor=ann)
    circuit_breaker.resume(erp.id)
    assert types() == []
    change_webhook(webhook.id, url=NOWHERE, event_types=every, active=True, actor=ann)
    circuit_breaker.pause(erp.id, reason="holiday", actor=ann)
    assert types() == ["connection.paused"]


def test_mail_is_for_what_no_person_has_done(erp: ErpConnection, org: Org, ann: User) -> None:
    a_member(org, "oskar", "Operator")
    exports = some_exports(org, ann, 3)
    cancel_export(exports[0].id, actor=ann, reason="no")
    circuit_breaker.pause(erp.id, reason="holiday", actor=ann)
    circuit_breaker.resume(erp.id)
    deliver(erp.id)
    assert types() == []
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    # Whoever mends it: the others want to know.
    circuit_breaker.resume(erp.id)
    rows = Notification.objects.order_by("created_at")
    assert {row.webhook_due_at for row in rows} == {None}
    assert all(row.mail_due_at for row in rows)
    assert types() == ["connection.paused", "connection.recovered"]


@pytest.mark.parametrize("count", [2, 64])
def test_a_batch_is_noted_with_as_many_queries_as_one(
    webhook: Webhook, erp: ErpConnection, org: Org, ann: User, count: int
) -> None:
    def queries(export_count: int, first: int) -> int:
        some_exports(org, ann, export_count, first=first)
        with CaptureQueriesContext(database) as captured:
            deliver(erp.id)
        return len(captured)

    queries(1, 0)
    one = queries(1, 1)
    assert queries(count, 2) == one
    change_webhook(webhook.id, url=NOWHERE, event_types=["export.acked"], active=True, actor=ann)
    # What there is to say, the rows and, where the database is asked for it, the time.
    assert one - queries(1, 2 + count) == 2 + (database.vendor == "postgresql")


def test_old_notifications_are_deleted(webhook: Webhook, erp: ErpConnection) -> None:
    """Those too that wait, as they do at a webhook that stays inactive."""
    circuit_breaker.record_failure(erp, ConnectorError("AUTH_FAILED"))
    Notification.objects.update(created_at=db_now() - timedelta(days=15))
    circuit_breaker.resume(erp.id)
    assert prune() == 1
    assert types() == ["connection.recovered"]
