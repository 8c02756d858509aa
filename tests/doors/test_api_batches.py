"""Batches through the API: many orders pushed or retried by one request, and followed."""

from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from connectors.models import ErpConnection
from exports.models import Batch, ErpExport
from exports.pushing import batch_runs
from orders.models import DraftOrder
from tests.support.api import (
    create,
    create_approved,
    create_failed,
    error_at,
    post,
    refusal,
    spread,
)

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

BATCHES = "/api/v1/batches"
NUMBER = "/filter/external_order_number"
SOME = str(uuid4())


@pytest.fixture
def orders(owner: APIClient, connection: ErpConnection) -> list[str]:
    """The ids of two approved orders, and of one that is not."""
    paths = [create_approved(owner, external_order_number=f"PO-{n}") for n in range(2)]
    unapproved = create(owner, external_order_number="PO-9")["id"]
    keys = [*(path.rpartition("/")[2] for path in paths), unapproved]
    spread(DraftOrder, *keys)
    return keys


def counts(api: APIClient, path: str) -> dict[str, int]:
    """What came of how many, without what nothing came to."""
    return {name: n for name, n in api.get(path).json()["counts"].items() if n}


def test_a_batch_is_asked_for_and_followed(owner: APIClient, orders: list[str]) -> None:
    response = post(owner, BATCHES, {"action": "push", "orders": orders})
    assert response.status_code == 202, response.content
    shown = response.json()
    path = response["Location"]
    assert path == f"{BATCHES}/{shown['id']}"
    assert response["Retry-After"] == owner.get(path)["Retry-After"] == "1"
    assert shown == owner.get(path).json()
    assert (shown["state"], shown["requested_by"]) == ("waiting", "olivia@acme.example")
    assert counts(owner, path) == {"total": 3, "waiting": 3}

    batch_runs.run(Batch.objects.get().id)
    done = owner.get(path)
    assert "Retry-After" not in done
    assert (done.json()["state"], bool(done.json()["finished_at"])) == ("finished", True)
    assert counts(owner, path) == {"total": 3, "done": 2, "refused": 1}
    items = owner.get(f"{path}/items").json()["results"]
    assert [item["draft_order"] for item in items] == orders
    assert [item["outcome"] for item in items] == ["DONE", "DONE", "REFUSED"]
    assert items[2]["code"] == "NOT_APPROVED"
    assert "only approved orders are pushed" in items[2]["message"]
    assert {items[0]["export"], items[1]["export"]} == {
        str(key) for key in ErpExport.objects.values_list("id", flat=True)
    }
    assert owner.get(f"{path}/items?outcome=REFUSED").json()["results"] == [items[2]]
    refusal(post(owner, f"{path}/cancel"), 409, "NOT_CANCELLABLE")


def test_items_come_in_pages(owner: APIClient, orders: list[str]) -> None:
    path = post(owner, BATCHES, {"action": "push", "orders": orders})["Location"]
    first = owner.get(f"{path}/items?page_size=2").json()
    second = owner.get(first["next"]).json()
    assert [i["draft_order"] for i in first["results"] + second["results"]] == orders
    assert second["next"] is None
    backwards = owner.get(f"{path}/items?ordering=-id").json()["results"]
    assert [i["draft_order"] for i in backwards] == orders[::-1]
    assert owner.get(f"{path}/items?cursor=eHl6").status_code == 400


def test_orders_are_chosen_by_a_filter(owner: APIClient, orders: list[str]) -> None:
    body = {"action": "push", "filter": {"status": ["APPROVED"], "erp_customer_number": "4711"}}
    preview = post(owner, f"{BATCHES}/preview", body)
    assert preview.status_code == 200
    assert preview.json() == {
        "action": "push",
        "total": 2,
        "eligible": 2,
        "by_status": {"APPROVED": 2},
    }
    assert not Batch.objects.exists()
    everything = {"action": "push", "filter": {"status": ["APPROVED", "READY"]}}
    assert post(owner, f"{BATCHES}/preview", everything).json()["eligible"] == 2
    path = post(owner, BATCHES, body)["Location"]
    assert counts(owner, path) == {"total": 2, "waiting": 2}


def test_what_failed_is_retried(owner: APIClient, connection: ErpConnection) -> None:
    create_failed(owner)
    DraftOrder.objects.update(status="ERROR")
    body = {"action": "retry", "filter": {"status": "ERROR"}}
    path = post(owner, BATCHES, body)["Location"]
    batch_runs.run(Batch.objects.get().id)
    assert counts(owner, path) == {"total": 1, "done": 1}
    assert ErpExport.objects.filter(status="PENDING").count() == 1


def test_a_batch_is_cancelled(owner: APIClient, orders: list[str]) -> None:
    path = post(owner, BATCHES, {"action": "push", "orders": orders})["Location"]
    cancelled = post(owner, f"{path}/cancel").json()
    assert cancelled["state"] == "cancelled"
    assert cancelled["cancelled_by"] == "olivia@acme.example"
    batch_runs.run(Batch.objects.get().id)
    assert counts(owner, path) == {"total": 3, "cancelled": 3}
    assert not ErpExport.objects.exists()


def test_a_repeated_batch_is_one(owner: APIClient, orders: list[str]) -> None:
    body = {"action": "push", "orders": orders}
    first = post(owner, BATCHES, body, idempotency_key="night-run-1")
    again = post(owner, BATCHES, body, idempotency_key="night-run-1")
    assert first.json() == again.json()
    assert (again["Location"], again["Idempotent-Replayed"]) == (first["Location"], "true")
    assert Batch.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/action"}),
        ({"action": "push"}, {""}),
        ({"action": "explode", "orders": [SOME]}, {"/action", "/orders/0"}),
        ({"action": "push", "orders": []}, {"/orders"}),
        ({"action": "push", "orders": ["x"]}, {"/orders/0"}),
        ({"action": "push", "orders": "all"}, {"/orders"}),
        ({"action": "push", "filter": {}}, {"/filter"}),
        ({"action": "push", "filter": {"customer": ""}}, {"/filter/customer"}),
        ({"action": "push", "filter": {"status": []}}, {"/filter/status"}),
        ({"action": "push", "filter": {"statsu": "READY"}}, {"/filter/statsu"}),
        ({"action": "push", "filter": {"status": ["READY", "LOST"]}}, {"/filter/status"}),
        ({"action": "push", "filter": {"customer": {"a": 1}}}, {"/filter/customer"}),
        ({"action": "push", "filter": {"external_order_number": 815}}, {NUMBER}),
        ({"action": "push", "filter": {"external_order_number": None}}, {NUMBER}),
        ({"action": "push", "filter": {"external_order_number": [["PO-1"]]}}, {NUMBER}),
        ({"action": "push", "filter": {"external_order_number": ["PO-1", "PO-2"]}}, {NUMBER}),
        (
            {"action": "push", "filter": {"status": "READY"}, "orders": [SOME]},
            {"/orders/0"},
        ),
        ({"action": "push", "filter": {"status": "READY"}, "state": "done"}, {"/state"}),
    ],
)
def test_a_wrong_batch_is_refused(owner: APIClient, body: Any, pointers: set[str]) -> None:
    for path in (BATCHES, f"{BATCHES}/preview"):
        assert error_at(post(owner, path, body)).keys() == pointers
    assert not Batch.objects.exists()


def test_orders_of_another_org_are_not_there(
    owner: APIClient, stranger: APIClient, orders: list[str]
) -> None:
    body = {"action": "push", "orders": [orders[0]]}
    assert error_at(post(stranger, BATCHES, body)).keys() == {"/orders/0"}
    everything = {"action": "push", "filter": {"status": "APPROVED"}}
    assert post(stranger, f"{BATCHES}/preview", everything).json()["total"] == 0
    refusal(post(stranger, BATCHES, everything), 409, "NO_ORDERS")


def test_batches_are_listed(owner: APIClient, orders: list[str]) -> None:
    key = post(owner, BATCHES, {"action": "push", "orders": orders}).json()["id"]
    [listed] = owner.get(f"{BATCHES}?finished=false&action=push").json()["results"]
    assert (listed["id"], "counts" in listed) == (key, False)
    assert owner.get(f"{BATCHES}?finished=true").json()["results"] == []
