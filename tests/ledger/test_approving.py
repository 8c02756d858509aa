"""Approving what was seen: the hash is compared under the lock, at once or by a batch."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, transaction

from accounts.models import Org, User
from exports.models import BatchItem
from exports.pushing import batch_runs, batches
from exports.pushing.push import push_order
from kernel.errors import RuleViolation
from orders import approval, content
from orders.content import content_hash, content_hashes
from orders.models import Customer, DraftOrder, SourceDocument
from tests.support.builders import a_connection, an_order
from tests.support.locks import wait_until_one_waits

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]
Status = DraftOrder.Status


@contextmanager
def in_thread(work: object) -> Iterator[None]:
    def run() -> None:
        try:
            work()  # type: ignore[operator]
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def test_what_was_seen_is_approved(org: Org, approver: User) -> None:
    order = an_order(org)
    approved = approval.approve(order.id, actor=approver, expected_sha256=content_hash(order))
    assert (approved.status, approved.approved_hash) == (Status.APPROVED, content_hash(order))


@pytest.mark.parametrize("expected", ["", "f" * 64])
def test_what_was_not_seen_is_not_approved(org: Org, approver: User, expected: str) -> None:
    order = an_order(org)
    with pytest.raises(RuleViolation) as refused:
        approval.approve(order.id, actor=approver, expected_sha256=expected)
    assert refused.value.code == "CHANGED_SINCE_SHOWN"
    order.refresh_from_db()
    assert (order.status, order.approved_hash) == (Status.READY, "")


def test_a_batch_approves_what_it_froze(org: Org, approver: User) -> None:
    orders = [an_order(org, f"PO-{n}") for n in range(4)]
    batch = batches.create_batch(
        org, action="approve", orders=DraftOrder.objects.filter(org=org), actor=approver
    )
    assert dict(batch.items.values_list("draft_order", "content_sha256")) == {
        order.id: content_hash(order) for order in orders
    }
    document = SourceDocument.objects.create(org=org, file_name="x.pdf", sha256="a" * 64)
    DraftOrder.objects.filter(id=orders[0].id).update(notes="other")
    orders[1].lines.update(qty=99999)
    DraftOrder.objects.filter(id=orders[2].id).update(source_document=document)
    batch_runs.run(batch.id)
    found = batch.items.values_list("draft_order", "outcome", "code")
    assert set(found) == {
        *((order.id, "REFUSED", "CHANGED_SINCE_SHOWN") for order in orders[:3]),
        (orders[3].id, "DONE", ""),
    }
    assert DraftOrder.objects.get(status=Status.APPROVED) == orders[3]


def test_a_batch_approves_no_order_that_its_page_did_not_show(org: Org, approver: User) -> None:
    order, unseen = an_order(org, "PO-1"), an_order(org, "PO-2")
    batch = batches.create_batch(
        org,
        action="approve",
        orders=DraftOrder.objects.filter(org=org),
        actor=approver,
        seen={order.id: content_hash(order)},
    )
    batch_runs.run(batch.id)
    refused = batch.items.get(outcome=BatchItem.Outcome.REFUSED)
    assert (refused.draft_order, refused.code) == (unseen, "CHANGED_SINCE_SHOWN")


def test_other_decisions_freeze_nothing(org: Org, approver: User) -> None:
    an_order(org)
    batch = batches.create_batch(
        org, action="reject", orders=DraftOrder.objects.filter(org=org), actor=approver
    )
    assert batch.items.get().content_sha256 == ""
    batch_runs.run(batch.id)
    assert batch.items.get().outcome == "DONE"


def test_many_orders_are_hashed_in_parts(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_PART_ROWS", 6)
    orders = [an_order(org, f"PO-{n}", lines=n) for n in (1, 2, 9, 1, 3)]
    keys = [order.id for order in orders]
    assert [len(part) for part in content._in_parts(keys)] == [2, 1, 2]
    assert content_hashes(keys) == {order.id: content_hash(order) for order in orders}


@pytest.mark.django_db(transaction=True)
def test_an_edit_that_an_approval_waits_for_is_noticed(org: Org, approver: User) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    order = an_order(org)
    seen = content_hash(order)
    codes: list[str] = []

    def approve() -> None:
        try:
            approval.approve(order.id, actor=approver, expected_sha256=seen)
        except RuleViolation as e:
            codes.append(e.code)

    with transaction.atomic(), approval.editing(order.id, actor=approver):
        order.lines.update(qty=99999)
        approving = in_thread(approve)
        approving.__enter__()
        wait_until_one_waits()
    approving.__exit__(None, None, None)
    assert codes == ["CHANGED_SINCE_SHOWN"]
    order.refresh_from_db()
    assert order.status == Status.READY


@pytest.mark.django_db(transaction=True)
def test_a_customer_that_changes_at_the_same_time_is_not_pushed_unseen(
    org: Org, approver: User, dropzone_root: Path
) -> None:
    """The customer is another row: its change may be committed after the approval."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    order = an_order(org)
    seen = content_hash(order)
    with transaction.atomic():
        Customer.objects.filter(id=order.customer_id).update(erp_customer_number="666")
        with in_thread(lambda: approval.approve(order.id, actor=approver, expected_sha256=seen)):
            pass
        assert DraftOrder.objects.get(id=order.id).status == Status.APPROVED
    with pytest.raises(RuleViolation) as refused:
        push_order(order.id, actor=approver)
    assert refused.value.code == "CHANGED_SINCE_APPROVAL"
    assert not order.exports.exists()
