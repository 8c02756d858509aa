"""Orders in the admin: deciding about them, editing them, and finding them."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Org, User
from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.delivery.outcomes import fail
from exports.models import ErpExport
from exports.pushing.push import cancel_export, push_order
from orders import approval
from orders.models import Customer, DraftOrder, DraftOrderLine
from tests.support.admins import (
    an_ack,
    decide_url,
    logged_in,
    messages,
    page_url,
    submitted,
    text,
)
from tests.support.builders import an_approved_order, an_order
from tests.support.order_forms import line_data, order_data

pytestmark = pytest.mark.django_db

Status = DraftOrder.Status
XSS = "<script>alert('x')</script>"


# Deciding.
def test_approve_says_what_will_happen_and_does_it(org: Org, approver: User) -> None:
    ready = an_order(org, "PO-ready")
    lacking = an_order(org, "PO-lacking", customer=Customer.objects.create(org=org, name="New"))
    first = an_order(org, "PO-twin")
    twin = an_order(org, "PO-twin", customer=first.customer)
    client = logged_in(approver)
    orders = [ready, lacking, first, twin]
    data = {"action": "approve_orders", "_selected_action": [str(o.id) for o in orders]}
    response = client.post(page_url("orders_draftorder_changelist"), data)
    page = text(response)
    assert "1 order will be approved" in page
    assert "1 order will be skipped" in page
    assert "Customer New has no ERP customer number." in page
    assert "2 orders will be approved only if you confirm" in page

    posted = submitted(response)
    response = client.post(decide_url("approve"), posted, follow=True)
    said = messages(response)
    assert said[0] == "Order PO-ready was approved."
    assert any("PO-lacking was skipped. Customer New" in message for message in said)
    assert DraftOrder.objects.filter(status=Status.APPROVED).get() == ready
    ready.refresh_from_db()
    assert ready.approved_by == approver

    posted["confirm_warnings"] = "yes"
    assert "2 orders were approved." in messages(
        client.post(decide_url("approve"), posted, follow=True)
    )
    twin.refresh_from_db()
    assert twin.status == Status.APPROVED


def test_push_and_retry_from_the_page_of_an_order(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    order = an_approved_order(org, approver)
    client = logged_in(approver)
    page = text(client.get(page_url("orders_draftorder_change", order.id)))
    assert f"{decide_url('push')}?order={order.id}" in page
    assert "the approval is cancelled" in page
    page = text(client.get(f"{decide_url('push')}?order={order.id}"))
    assert "1 order will be pushed" in page
    assert "This connection is paused" in page
    back = page_url("orders_draftorder_change", order.id)
    response = client.post(decide_url("push"), {"orders": str(order.id), "back": back}, follow=True)
    assert response.redirect_chain[0][0] == back
    assert messages(response) == ["Order PO-1 was pushed."]
    export = order.exports.get()
    assert export.requested_by == approver
    assert export.filename in text(response)
    assert "can no longer be edited" in text(response)
    assert "_save" not in text(response)

    fail(export, ConnectorError("NOT_EXPORTABLE").as_json())
    page = text(client.get(page_url("orders_draftorder_change", order.id)))
    assert "The order cannot be written as a document." in page
    assert "order team" in page
    response = client.post(
        decide_url("retry"), {"orders": str(order.id), "back": back}, follow=True
    )
    assert messages(response) == ["Order PO-1 was pushed again."]
    assert order.exports.count() == 2


def test_push_without_a_connection_is_skipped_with_the_reason(org: Org, approver: User) -> None:
    order = an_approved_order(org, approver)
    client = logged_in(approver)
    page = text(client.get(f"{decide_url('push')}?order={order.id}"))
    assert "1 order will be skipped" in page
    assert "Acme has no active ERP connection." in page
    assert 'type="submit" class="default"' not in page
    said = messages(client.post(decide_url("push"), {"orders": str(order.id)}, follow=True))
    assert said == ["Order PO-1 was skipped. Acme has no active ERP connection. Set one up first."]


def test_reject(org: Org, approver: User) -> None:
    order = an_order(org)
    client = logged_in(approver)
    client.post(decide_url("reject"), {"orders": str(order.id)})
    order.refresh_from_db()
    assert order.status == Status.REJECTED
    history = text(client.get(page_url("orders_draftorder_history", order.id)))
    assert "Rejected." in history
    assert "ann" in history


@pytest.mark.parametrize("ids", ["", "x", "00000000-0000-0000-0000-000000000000"])
def test_a_decision_about_no_order_is_not_found(approver: User, ids: str) -> None:
    assert logged_in(approver).post(decide_url("approve"), {"orders": ids}).status_code == 404
    assert logged_in(approver).get(f"{decide_url('approve')}?order={ids}").status_code == 404
    assert logged_in(approver).get(page_url("orders_draftorder_decide", "frame")).status_code == 404


# Editing.
def test_an_order_made_by_hand_gets_its_readiness(org: Org, approver: User) -> None:
    customer = Customer.objects.create(org=org, name="Buyer", erp_customer_number="1")
    line = {"lines-0-line_no": "1", "lines-0-internal_sku": "S", "lines-0-qty": "1.5"}
    data = {"org": str(org.id), "customer": str(customer.id), "currency": "EUR"}
    client = logged_in(approver)
    client.post(page_url("orders_draftorder_add"), data | line_data(**line))
    order = DraftOrder.objects.get()
    assert order.status == Status.NEEDS_REVIEW
    page = client.get(page_url("orders_draftorder_change", order.id))
    assert "Line 1: the unit of measure is missing." in text(page)
    assert 'value="1.5"' in text(page)
    changed = order_data(order) | {"lines-0-uom": "PCE"}
    client.post(page_url("orders_draftorder_change", order.id), changed)
    order.refresh_from_db()
    assert order.status == Status.READY


def test_an_edit_takes_back_the_approval_and_looking_does_not(org: Org, approver: User) -> None:
    order = an_approved_order(org, approver)
    client = logged_in(approver)
    url = page_url("orders_draftorder_change", order.id)
    assert client.post(url, order_data(order)).status_code == 302
    order.refresh_from_db()
    assert order.status == Status.APPROVED
    assert client.post(url, order_data(order, **{"lines-0-qty": "3"})).status_code == 302
    order.refresh_from_db()
    assert (order.status, order.approved_by) == (Status.READY, None)
    assert order.lines.get().qty == 3


def test_an_order_on_its_way_is_not_edited(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    order = an_approved_order(org, approver)
    client = logged_in(approver)
    url = page_url("orders_draftorder_change", order.id)
    changed = order_data(order, notes="late")

    # Somebody pushes it between the check of the form and the saving.
    editing = approval.editing

    def pushed_before(order_id: Any, *, actor: User) -> Any:
        push_order(order.id, actor=approver)
        return editing(order_id, actor=actor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approval, "editing", pushed_before)
        said = messages(client.post(url, changed, follow=True))
    assert said == ["Order PO-1 has the status “pushing” and can no longer be edited."]

    # The push was part of the same transaction, so it was taken back with the rest.
    push_order(order.id, actor=approver)
    said = messages(client.post(url, changed, follow=True))
    assert said == ["Order PO-1 has the status “pushing” and can no longer be edited."]
    order.refresh_from_db()
    assert (order.notes, order.status) == ("", Status.PUSHING)


def test_lines_can_swap_their_numbers(root: Client, org: Org) -> None:
    order = an_order(org)
    DraftOrderLine.objects.create(order=order, line_no=2, internal_sku="T", qty=1, uom="PCE")
    ids = list(order.lines.values_list("id", flat=True))
    url = page_url("orders_draftorder_change", order.id)
    root.post(url, order_data(order, **{"lines-0-line_no": "2", "lines-1-line_no": "1"}))
    assert list(order.lines.values_list("internal_sku", "line_no")) == [("T", 1), ("INT-1", 2)]
    assert set(order.lines.values_list("id", flat=True)) == set(ids)
    page = root.post(url, order_data(order, **{"lines-0-line_no": "2"}))
    assert "Please correct the duplicate data for line_no" in text(page)


def test_a_line_can_take_the_number_of_a_deleted_one(root: Client, org: Org) -> None:
    order = an_order(org)
    data = order_data(order) | {
        "lines-0-DELETE": "on",
        "lines-1-line_no": "1",
        "lines-1-internal_sku": "NEW",
        "lines-1-qty": "1",
    }
    root.post(page_url("orders_draftorder_change", order.id), data)
    assert order.lines.get().internal_sku == "NEW"


def test_an_order_changed_since_its_approval_can_be_approved_again(
    org: Org, approver: User
) -> None:
    order = an_approved_order(org, approver)
    assert order.customer
    client = logged_in(approver)
    data = {"name": "Renamed", "erp_customer_number": order.customer.erp_customer_number}
    client.post(page_url("orders_customer_change", order.customer_id), data)
    page = text(client.get(page_url("orders_draftorder_change", order.id)))
    assert "has changed since it was approved" in page
    assert f"{decide_url('approve')}?order={order.id}" in page


def test_a_customer_number_makes_waiting_orders_ready(org: Org, approver: User) -> None:
    order = an_order(org, customer=Customer.objects.create(org=org, name="New"))
    assert order.status == Status.NEEDS_REVIEW
    data = {"name": "New", "erp_customer_number": "77"}
    logged_in(approver).post(page_url("orders_customer_change", order.customer_id), data)
    order.refresh_from_db()
    assert order.status == Status.READY


def test_search_finds_number_customer_and_customer_number(org: Org, approver: User) -> None:
    buyer = Customer.objects.create(org=org, name="Beispiel AG", erp_customer_number="C-77")
    an_order(org, "PO-1", customer=buyer)
    an_order(org, "PO-2")
    client = logged_in(approver)
    for words in ("PO-1", "Beispiel AG", "C-77"):
        page = text(client.get(page_url("orders_draftorder_changelist"), {"q": words}))
        assert "1 result" in page


# What orders say is text, not markup.
def test_markup_in_orders_is_escaped_everywhere(
    connection: ErpConnection, org: Org, approver: User, root: Client
) -> None:
    Org.objects.filter(id=org.id).update(name=XSS)
    org.refresh_from_db()
    customer = Customer.objects.create(org=org, name=XSS, erp_customer_number=XSS)
    order = an_order(org, XSS, customer=customer, notes=XSS)
    order.lines.update(description=XSS, customer_sku_raw=XSS)
    twin = an_order(org, XSS, customer=customer)
    urls = [
        *(
            f"{decide_url(name)}?order={order.id}"
            for name in ("approve", "push", "retry", "reject")
        ),
        page_url("orders_draftorder_change", twin.id),
    ]
    pages = [root.get(url) for url in urls]
    approval.approve(order.id, actor=approver, confirm_warnings=True)
    export = push_order(order.id, actor=approver)
    cancel_export(export.id, actor=approver, reason=XSS)
    ErpExport.objects.filter(id=export.id).update(
        error_json={"code": XSS, "message": XSS, "hint": XSS, "owner": XSS}, erp_order_id=XSS
    )
    ack = an_ack(connection, "MALFORMED", export=export, filename=XSS, raw=XSS, note=XSS)
    circuit_breaker.pause(connection.id, reason=XSS, actor=approver)
    pages += [
        root.get(url)
        for url in (
            page_url("orders_draftorder_changelist"),
            page_url("orders_draftorder_change", order.id),
            page_url("exports_erpexport_changelist"),
            page_url("exports_erpexport_change", export.id),
            page_url("exports_erpack_changelist"),
            page_url("exports_erpack_change", ack.id),
            page_url("connectors_erpconnection_changelist"),
            page_url("connectors_erpconnection_change", connection.id),
            page_url("connectors_erpconnection_resume", connection.id),
            f"{decide_url('push')}?order={order.id}",
        )
    ]
    pages.append(root.post(decide_url("push"), {"orders": str(twin.id)}, follow=True))
    for page in pages:
        assert page.status_code == 200
        assert "alert(" in text(page)
        assert XSS not in text(page)
