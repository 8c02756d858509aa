"""Changing orders through the API: whole, in parts, and only what was read."""

from decimal import Decimal
from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from connectors.models import ErpConnection
from orders.models import Customer, DraftOrder
from tests.support.api import (
    DOCUMENT,
    LINE,
    ORDER,
    ORDERS,
    create,
    create_approved,
    error_at,
    post,
    refusal,
    send,
)

pytestmark = pytest.mark.django_db


def put(api: APIClient, path: str, body: Any, **headers: str) -> Response:
    return send(api, "PUT", path, body, **headers)


def patch(api: APIClient, path: str, body: Any, **headers: str) -> Response:
    return send(api, "PATCH", path, body, **headers)


def test_put_replaces_an_order_whole(owner: APIClient) -> None:
    path = f"{ORDERS}/{create(owner, notes='Ring twice', source_document=DOCUMENT)['id']}"
    lines = [LINE | {"line_no": 2, "qty": "7"}, LINE | {"line_no": 1, "description": "Cable"}]
    response = put(owner, path, {"currency": "CHF", "lines": lines})
    assert response.status_code == 200
    order = response.json()
    assert order == owner.get(path).json()
    assert order["currency"] == "CHF"
    for name in ("notes", "customer", "source_document", "external_order_number", "order_date"):
        assert order[name] is None
    assert [(line["line_no"], line["qty"]) for line in order["lines"]] == [(1, "10"), (2, "7")]
    assert order["status"] == "NEEDS_REVIEW"
    assert order["blocking_reasons"] == ["The order has no customer."]


def test_patch_changes_what_it_names(owner: APIClient) -> None:
    created = create(owner, notes="Ring twice", source_document=DOCUMENT)
    path = f"{ORDERS}/{created['id']}"
    changed = patch(owner, path, {"order_date": None, "external_order_number": "PO-2"}).json()
    assert changed["content_sha256"] != created["content_sha256"]
    expected = created | {"order_date": None, "external_order_number": "PO-2"}
    assert changed == expected | {n: changed[n] for n in ("content_sha256", "updated_at")}
    changed = patch(owner, path, {"lines": [LINE | {"qty": 3.25}]}).json()
    assert [Decimal(line["qty"]) for line in changed["lines"]] == [Decimal("3.25")]


def test_a_changed_customer_is_found_or_created_by_its_number(owner: APIClient) -> None:
    path = f"{ORDERS}/{create(owner)['id']}"
    number = {"erp_customer_number": "4712", "name": "Neu AG"}
    assert patch(owner, path, {"customer": number}).json()["customer"]["name"] == "Neu AG"
    assert patch(owner, path, {"customer": ORDER["customer"]}).status_code == 200
    assert Customer.objects.count() == 2


def test_an_edit_takes_the_approval_back(owner: APIClient) -> None:
    path = create_approved(owner)
    order = patch(owner, path, {"notes": "Ring twice"}).json()
    assert (order["status"], order["approved_at"], order["approved_by"]) == ("READY", None, None)


def test_an_order_on_its_way_is_not_changed(owner: APIClient, connection: ErpConnection) -> None:
    path = create_approved(owner)
    post(owner, f"{path}/push")
    refusal(patch(owner, path, {"notes": "late"}), 409, "NOT_EDITABLE")
    refusal(put(owner, path, ORDER), 409, "NOT_EDITABLE")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"status": "PUSHED"}, {"/status"}),
        ({"notez": "x"}, {"/notez"}),
        ({"customer": {"erp_customer_number": "1"}}, {"/customer/name"}),
        ({"lines": [LINE, LINE]}, {"/lines"}),
        ({"lines": None}, {"/lines"}),
        ([], {""}),
    ],
)
def test_a_wrong_change_changes_nothing(owner: APIClient, body: Any, pointers: set[str]) -> None:
    created = create(owner)
    path = f"{ORDERS}/{created['id']}"
    assert error_at(patch(owner, path, body)).keys() == pointers
    assert owner.get(path).json() == created


def test_what_has_changed_since_it_was_read_is_not_changed(owner: APIClient) -> None:
    path = f"{ORDERS}/{create(owner)['id']}"
    read = owner.get(path)["ETag"]
    written = patch(owner, path, {"notes": "mine"}, if_match=read)
    assert written.status_code == 200
    assert written["ETag"] == owner.get(path)["ETag"] != read
    for method, target, body in (
        ("PUT", path, ORDER),
        ("PATCH", path, {"notes": "theirs"}),
        ("POST", f"{path}/approve", {}),
        ("POST", f"{path}/reject", {}),
        ("POST", f"{path}/push", {}),
    ):
        refusal(send(owner, method, target, body, if_match=read), 412, "precondition_failed")
    order = owner.get(path).json()
    assert (order["notes"], order["status"]) == ("mine", "READY")
    approved = send(owner, "POST", f"{path}/approve", {}, if_match=written["ETag"])
    assert approved.json()["status"] == "APPROVED"
    assert patch(owner, path, {"notes": "any"}, if_match="*").status_code == 200


def test_a_rejected_order_is_out(owner: APIClient) -> None:
    path = create_approved(owner)
    assert post(owner, f"{path}/reject").json()["status"] == "REJECTED"
    refusal(post(owner, f"{path}/reject"), 409, "NOT_REJECTABLE")
    refusal(post(owner, f"{path}/approve"), 409, "NOT_READY")
    assert DraftOrder.objects.get().status == "REJECTED"


def test_only_a_change_cancels_an_approval(owner: APIClient) -> None:
    path = create_approved(owner)
    approved = owner.get(path)
    same = {"notes": None, "currency": "EUR", "lines": [LINE | {"qty": 10}]}
    for method, body in (("PATCH", {}), ("PATCH", same), ("PUT", ORDER)):
        assert send(owner, method, path, body).json() == approved.json()
    assert owner.get(path)["ETag"] == approved["ETag"]
    assert send(owner, "PATCH", path, {"lines": [LINE | {"qty": 11}]}).json()["status"] == "READY"
