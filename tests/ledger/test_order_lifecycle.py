"""Each row of the table of orders, brought about as people, workers and ERPs do it.

What an event of an export means for its order is asserted with the export, in
tests/ledger/test_export_lifecycle.py.
"""

from typing import Any

import pytest

from orders import approval
from orders.models import Customer, DraftOrder
from tests.support.admins import decide_url, page_url
from tests.support.api import LINE, ORDER, ORDERS, post, send
from tests.support.lifecycle_rows import Happened, World, brings_about, is_touched
from tests.support.order_forms import order_data

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


def approval_of(order: DraftOrder) -> tuple[Any, ...]:
    return order.approved_by, order.approved_at, order.approved_hash


def save_customer(world: World, customer: Customer, **changes: str) -> None:
    """Save a customer in the admin."""
    data = {"name": customer.name, "erp_customer_number": customer.erp_customer_number}
    response = world.admin.post(
        page_url("orders_customer_change", customer.id),
        {"org": str(world.org.id), **data, **changes},
    )
    assert response.status_code == 302


@brings_about("orders.COMPLETED", "NEEDS_REVIEW", "READY", "APPROVED", "ERROR")
def test_an_order_that_is_written_whole_is_ready(world: World, source: str) -> None:
    order = world.an_order_that_is(source)
    with world.watching(order) as happened:
        body = ORDER | {"lines": [LINE | {"qty": "7"}]}
        assert send(world.api, "PUT", f"{ORDERS}/{order.id}", body).status_code == 200
    assert happened == Happened(order=(source, "READY"))
    assert approval_of(order) == (None, None, "")
    assert is_touched(order)


@brings_about("orders.COMPLETED", "NEEDS_REVIEW")
def test_an_order_is_ready_once_its_customer_has_a_number(world: World) -> None:
    new = Customer.objects.create(org=world.org, name="New")
    order = world.ready(customer=new)
    with world.watching(order) as happened:
        save_customer(world, new, erp_customer_number="C-77")
    assert happened == Happened(order=("NEEDS_REVIEW", "READY"))


@brings_about("orders.COMPLETED", "READY")
def test_a_ready_order_stays_so_when_its_customer_is_saved(world: World) -> None:
    order = world.ready()
    assert order.customer
    with world.watching(order) as happened:
        save_customer(world, order.customer, name="Beispiel AG")
    assert happened == Happened(order=("READY", "READY"))
    assert is_touched(order)


@brings_about("orders.BLOCKED", "NEEDS_REVIEW", "READY", "APPROVED", "ERROR")
def test_an_order_that_lacks_something_needs_review(world: World, source: str) -> None:
    order = world.an_order_that_is(source)
    with world.watching(order) as happened:
        form = order_data(order, **{"lines-0-uom": ""})
        there = page_url("orders_draftorder_change", order.id)
        assert world.admin.post(there, form).status_code == 302
    assert happened == Happened(order=(source, "NEEDS_REVIEW"))
    assert approval_of(order) == (None, None, "")
    assert is_touched(order)


@brings_about("orders.BLOCKED", "NEEDS_REVIEW", "READY")
def test_an_order_whose_customer_has_no_number_needs_review(world: World, source: str) -> None:
    order = world.an_order_that_is(source)
    assert order.customer
    with world.watching(order) as happened:
        save_customer(world, order.customer, erp_customer_number="")
    assert happened == Happened(order=(source, "NEEDS_REVIEW"))
    assert is_touched(order)


@brings_about("orders.APPROVED", "READY")
def test_a_person_approves_an_order(world: World) -> None:
    order = world.ready()
    with world.watching(order) as happened:
        assert post(world.api, f"{ORDERS}/{order.id}/approve").status_code == 200
    assert happened == Happened(order=("READY", "APPROVED"))
    assert order.approved_by == world.ann
    assert order.approved_at and len(order.approved_hash) == 64


@brings_about("orders.APPROVED", "NEEDS_REVIEW")
def test_a_person_approves_an_order_that_another_program_has_completed(world: World) -> None:
    """What is written past the service, say with SQL, computes no readiness."""
    order = world.ready(customer=Customer.objects.create(org=world.org, name="New"))
    Customer.objects.filter(name="New").update(erp_customer_number="C-77")
    with world.watching(order) as happened:
        approval.approve(order.id, actor=world.ann)
    assert happened == Happened(order=("NEEDS_REVIEW", "APPROVED"))
    assert order.approved_by == world.ann


@brings_about("orders.APPROVED_AGAIN", "APPROVED", "ERROR")
def test_a_person_approves_again_what_has_changed(world: World, source: str) -> None:
    order = world.an_order_that_is(source)
    before = order.approved_hash
    assert order.customer
    save_customer(world, order.customer, erp_customer_number="C-77")
    with world.watching(order) as happened:
        assert post(world.api, f"{ORDERS}/{order.id}/approve").status_code == 200
    assert happened == Happened(order=(source, "APPROVED"))
    assert order.approved_by == world.ann
    assert order.approved_hash != before


@brings_about("orders.REJECTED", "NEEDS_REVIEW", "READY", "APPROVED")
def test_a_person_rejects_an_order(world: World, source: str) -> None:
    order = world.an_order_that_is(source)
    with world.watching(order) as happened:
        response = world.admin.post(decide_url("reject"), {"orders": str(order.id)})
        assert response.status_code == 302
    assert happened == Happened(order=(source, "REJECTED"))


# A status that does not fit its export's: an older version left such rows; so may a hand.
@brings_about(
    "orders.ACCEPTED", "NEEDS_REVIEW", "READY", "APPROVED", "PUSHING", "ERROR", "REJECTED"
)
def test_an_order_is_pushed_whatever_it_was_once_the_erp_accepts_it(
    world: World, source: str
) -> None:
    export = world.sent()
    DraftOrder.objects.filter(id=export.draft_order_id).update(status=source)
    with world.watching(export) as happened:
        world.answer("ack", export)
    assert happened.order == (source, "PUSHED")


@brings_about("orders.REFUSED", "PUSHING")
def test_an_order_that_was_left_behind_its_export_can_be_refused(world: World) -> None:
    export = world.sent()
    DraftOrder.objects.filter(id=export.draft_order_id).update(status="PUSHING")
    with world.watching(export) as happened:
        world.answer("error", export)
    assert happened.order == ("PUSHING", "ERROR")
