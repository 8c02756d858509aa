"""What a request makes of an order that another one is about to change.

The other one's transaction is open while the request comes, and is committed once that waits.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from rest_framework.test import APIClient

from accounts.models import Org, User
from connectors.models import ErpConnection
from orders import approval
from orders.creation import replace_order
from orders.models import DraftOrder
from tests.support.api import ORDERS, client, create, person, post, send
from tests.support.locks import wait_until_one_waits

pytestmark = pytest.mark.django_db(transaction=True)

OTHER_CUSTOMER = {"erp_customer_number": "4712", "name": "Beispiel AG"}


@pytest.fixture
def otto(org: Org) -> User:
    return person("otto", org, "Integration")


@pytest.fixture
def order(otto: User, org: Org) -> DraftOrder:
    return DraftOrder.objects.get(id=create(client(otto, org))["id"])


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def change_customer(order: DraftOrder, *, actor: User) -> None:
    lines = order.lines.values("line_no", "internal_sku", "qty", "uom")
    replace_order(order.id, actor=actor, lines=list(lines), currency="EUR", customer=OTHER_CUSTOMER)


def test_a_change_keeps_the_customer_that_another_one_sets(
    owner: APIClient, order: DraftOrder, other_thread: ThreadPoolExecutor
) -> None:
    path = f"{ORDERS}/{order.id}"
    with transaction.atomic():
        change_customer(order, actor=otto)
        request = other_thread.submit(send, owner, "PATCH", path, {"notes": "Ring twice"})
        wait_until_one_waits()
    changed = request.result().json()
    assert (changed["customer"]["name"], changed["notes"]) == ("Beispiel AG", "Ring twice")


def test_an_approval_is_of_the_customer_that_a_change_sets(
    owner: APIClient, order: DraftOrder, other_thread: ThreadPoolExecutor
) -> None:
    with transaction.atomic():
        change_customer(order, actor=otto)
        request = other_thread.submit(post, owner, f"{ORDERS}/{order.id}/approve")
        wait_until_one_waits()
    approved = request.result().json()
    assert (approved["customer"]["name"], approved["status"]) == ("Beispiel AG", "APPROVED")


def test_a_push_takes_an_order_that_is_just_being_approved(
    owner: APIClient,
    otto: User,
    order: DraftOrder,
    connection: ErpConnection,
    other_thread: ThreadPoolExecutor,
) -> None:
    with transaction.atomic():
        approval.approve(order.id, actor=otto)
        request = other_thread.submit(post, owner, f"{ORDERS}/{order.id}/push")
        wait_until_one_waits()
    assert request.result().status_code == 202
