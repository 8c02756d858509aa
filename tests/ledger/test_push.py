"""Push, retry, cancel: what they refuse, and that two at once make one export."""

import threading
from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.delivery.outcomes import fail
from exports.delivery.protocol import deliver
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.push import cancel_export, push_order, push_orders, retry_order, retry_orders
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders import approval
from orders.models import DraftOrder
from tests.support.builders import an_approved_order, an_order

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]
Status = DraftOrder.Status


def refusal(call: Callable[..., object], *args: object, **kwargs: object) -> RuleViolation:
    with pytest.raises(RuleViolation) as raised:
        call(*args, **kwargs)
    return raised.value


def test_a_push_freezes_the_order(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    export = push_order(order.id, actor=ann)
    order.refresh_from_db()
    assert order.status == Status.PUSHING
    export.refresh_from_db()
    assert export.status == ErpExport.Status.PENDING
    assert export.export_storage_key == f"exports/{org.id}/{export.payload_sha256}.json"
    assert export.content and len(export.content) == export.payload_size
    assert [e.kind for e in export.events.all()] == [ErpExportEvent.Kind.CREATED]


def test_a_second_push_names_the_live_export(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    export = push_order(order.id, actor=ann)
    refused = refusal(push_order, order.id, actor=ann)
    assert (refused.code, refused.extra) == ("LIVE_EXPORT", {"export": export.id})


def test_only_approved_orders_are_pushed(org: Org, ann: User, mounted: ErpConnection) -> None:
    assert refusal(push_order, an_order(org).id, actor=ann).code == "NOT_APPROVED"


def test_a_push_needs_an_active_connection(org: Org, ann: User) -> None:
    order = an_approved_order(org, ann)
    assert refusal(push_order, order.id, actor=ann).code == "NO_CONNECTION"
    order.refresh_from_db()
    assert order.status == Status.APPROVED


def test_a_change_after_the_approval_is_noticed(
    org: Org, ann: User, mounted: ErpConnection
) -> None:
    order = an_approved_order(org, ann)
    assert order.customer
    order.customer.name = "Another GmbH"
    order.customer.save()
    assert refusal(push_order, order.id, actor=ann).code == "CHANGED_SINCE_APPROVAL"
    approval.approve(order.id, actor=ann)
    assert push_order(order.id, actor=ann).content


def test_an_edit_takes_back_the_approval(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    with approval.editing(order.id, actor=ann) as edited:
        edited.notes = "urgent"
        edited.save(update_fields=["notes"])
    order.refresh_from_db()
    assert (order.status, order.approved_by, order.approved_hash) == (Status.READY, None, "")


def test_a_pushed_order_cannot_be_edited(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    push_order(order.id, actor=ann)
    with pytest.raises(RuleViolation) as raised, approval.editing(order.id, actor=ann):
        pytest.fail("the edit began")
    assert raised.value.code == "NOT_EDITABLE"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"customer": None}, "no customer"),
        ({"currency": ""}, "no currency"),
        ({"lines": 0}, "no lines"),
    ],
)
def test_an_incomplete_order_says_what_is_missing(
    org: Org, ann: User, fields: dict[str, object], reason: str
) -> None:
    order = an_order(org, **fields)
    assert order.status == Status.NEEDS_REVIEW
    refused = refusal(approval.approve, order.id, actor=ann)
    assert refused.code == "NOT_READY"
    assert reason in refused.message


def test_a_line_without_quantity_blocks(org: Org, ann: User) -> None:
    order = an_order(org)
    with approval.editing(order.id, actor=ann):
        order.lines.update(qty=0)
    refused = refusal(approval.approve, order.id, actor=ann)
    assert refused.message == "Line 1: the quantity must be more than 0."


def test_a_twin_must_be_confirmed(org: Org, ann: User) -> None:
    an_order(org, "PO-7")
    order = an_order(org, "PO-7")
    assert refusal(approval.approve, order.id, actor=ann).code == "NEEDS_CONFIRMATION"
    assert approval.approve(order.id, actor=ann, confirm_warnings=True).status == Status.APPROVED


def test_a_rejected_order_stays_rejected(org: Org, ann: User) -> None:
    order = an_approved_order(org, ann)
    approval.reject(order.id, actor=ann)
    assert refusal(approval.reject, order.id, actor=ann).code == "NOT_REJECTABLE"
    assert refusal(approval.approve, order.id, actor=ann).code == "NOT_READY"


def test_cancel_before_anything_is_staged(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    export = push_order(order.id, actor=ann)
    cancel_export(export.id, actor=ann, reason="typo")
    export.refresh_from_db()
    order.refresh_from_db()
    assert (export.status, order.status) == (ErpExport.Status.FAILED, Status.APPROVED)
    assert export.error_json and export.error_json["code"] == "CANCELLED"
    event = export.events.last()
    assert event and (event.actor, event.detail) == (ann, {"reason": "typo"})
    assert push_order(order.id, actor=ann) != export


def test_no_cancel_after_the_claim(org: Org, ann: User, mounted: ErpConnection) -> None:
    export = push_order(an_approved_order(org, ann).id, actor=ann)
    ErpExport.objects.filter(id=export.id).update(
        staged_path="/x.tmp", staged_at=db_now(), destination={}
    )
    assert refusal(cancel_export, export.id, actor=ann).code == "NOT_CANCELLABLE"
    assert not fail(export, {"code": "GIVEN_UP"})


def test_retry_makes_a_new_export_with_a_new_name(
    org: Org, ann: User, mounted: ErpConnection
) -> None:
    order = an_approved_order(org, ann)
    first = push_order(order.id, actor=ann)
    assert refusal(retry_order, order.id, actor=ann).code == "NOT_FAILED"
    assert fail(first, {"code": "GIVEN_UP"})
    order.refresh_from_db()
    assert order.status == Status.ERROR
    second = retry_order(order.id, actor=ann)
    assert second.filename != first.filename
    assert second.content == first.content
    order.refresh_from_db()
    assert order.status == Status.PUSHING


def test_an_edited_order_is_not_retried(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    fail(push_order(order.id, actor=ann), {"code": "GIVEN_UP"})
    with approval.editing(order.id, actor=ann):
        order.lines.update(qty=3)
    assert refusal(retry_order, order.id, actor=ann).code == "NOT_APPROVED"
    approval.approve(order.id, actor=ann)
    assert push_order(order.id, actor=ann)


def test_the_database_refuses_a_second_live_export(
    org: Org, ann: User, mounted: ErpConnection
) -> None:
    export = push_order(an_approved_order(org, ann).id, actor=ann)
    export.pk = None
    export.filename = "another.json"
    with pytest.raises(IntegrityError), transaction.atomic():
        export.save(force_insert=True)


def test_each_order_of_many_gets_its_own_answer(
    org: Org, ann: User, mounted: ErpConnection
) -> None:
    pushed, approved, edited = (an_approved_order(org, ann, f"PO-{n}") for n in range(3))
    live = push_order(pushed.id, actor=ann)
    with approval.editing(edited.id, actor=ann):
        edited.lines.update(qty=3)
    outcomes = push_orders([pushed.id, approved.id, edited.id], actor=ann)
    export = outcomes[approved.id]
    assert isinstance(export, ErpExport)
    assert {key: o.code for key, o in outcomes.items() if isinstance(o, RuleViolation)} == {
        pushed.id: "LIVE_EXPORT",
        edited.id: "NOT_APPROVED",
    }
    fail(export, {"code": "GIVEN_UP"})
    outcomes = retry_orders([approved.id, pushed.id], actor=ann)
    again, refused = outcomes[approved.id], outcomes[pushed.id]
    assert isinstance(again, ErpExport) and again.content == export.content
    assert isinstance(refused, RuleViolation) and refused.extra == {"export": live.id}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite takes few values a statement")
def test_many_orders_are_pushed_by_as_many_statements_as_few(
    org: Org, ann: User, mounted: ErpConnection
) -> None:
    def statements(count: int) -> int:
        numbers = range(count)
        orders = [an_approved_order(org, ann, f"{count}-{n}", lines=3).id for n in numbers]
        with CaptureQueriesContext(connection) as captured:
            outcomes = push_orders(orders, actor=ann)
        assert all(isinstance(outcome, ErpExport) for outcome in outcomes.values())
        return len(captured)

    assert statements(50) == statements(10)


@pytest.mark.django_db(transaction=True)
def test_many_pushes_enqueue_once(org: Org, ann: User, mounted: ErpConnection) -> None:
    push_orders([an_approved_order(org, ann, f"PO-{n}").id for n in range(3)], actor=ann)
    assert OrmQ.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_simultaneous_pushes_make_one_export(org: Org, ann: User, mounted: ErpConnection) -> None:
    order = an_approved_order(org, ann)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def push() -> None:
        barrier.wait()
        try:
            push_order(order.id, actor=ann)
            outcomes.append("pushed")
        except RuleViolation as e:
            outcomes.append(e.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["LIVE_EXPORT"] * 7 + ["pushed"]
    assert order.exports.count() == 1


def test_an_inactive_connection_takes_no_push(org: Org, ann: User, mounted: ErpConnection) -> None:
    export = push_order(an_approved_order(org, ann).id, actor=ann)
    ErpConnection.objects.update(active=False)
    order = an_approved_order(org, ann, "PO-2")
    assert refusal(push_order, order.id, actor=ann).code == "NO_CONNECTION"
    # What was pushed before still goes out.
    assert deliver(export.erp_connection_id).sent == 1
