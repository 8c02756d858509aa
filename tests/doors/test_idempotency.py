"""A request that is repeated under its Idempotency-Key: one action, and the same answer again."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from accounts import idempotency
from accounts.models import IdempotencyKey, Org
from connectors.models import ErpConnection
from exports.models import ErpExport
from orders.models import DraftOrder
from tests.support.api import (
    ORDER,
    ORDERS,
    client,
    create,
    create_approved,
    person,
    post,
    refusal,
    wrong_parameters,
)

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

PARALLEL = 50


def same(first: Response, second: Response) -> bool:
    """Whether an answer is another one, replayed."""
    assert "Idempotent-Replayed" not in first
    return second.get("Idempotent-Replayed") == "true" and all(
        (r.status_code, r.json(), r.get("Location"), r.get("ETag"), r.get("Retry-After"))
        == (
            first.status_code,
            first.json(),
            first.get("Location"),
            first.get("ETag"),
            first.get("Retry-After"),
        )
        for r in [second]
    )


def test_a_repeated_creation_creates_one_order(owner: APIClient) -> None:
    first = post(owner, ORDERS, ORDER, idempotency_key="shop-1")
    assert first.status_code == 201
    assert same(first, post(owner, ORDERS, ORDER, idempotency_key="shop-1"))
    # In quotes it is the same key, and the order of the members says nothing.
    backwards = dict(reversed(ORDER.items()))
    assert same(first, post(owner, f"{ORDERS}/", backwards, idempotency_key='"shop-1"'))
    assert DraftOrder.objects.count() == 1
    assert post(owner, ORDERS, ORDER, idempotency_key="shop-2").status_code == 201
    assert DraftOrder.objects.count() == 2


def test_another_request_under_the_same_key_is_refused(owner: APIClient) -> None:
    post(owner, ORDERS, ORDER, idempotency_key="shop-1")
    other = post(owner, ORDERS, ORDER | {"notes": "x"}, idempotency_key="shop-1")
    refusal(other, 422, "idempotency_key_reused")
    path = f"{ORDERS}/{DraftOrder.objects.get().id}/push"
    refusal(post(owner, path, idempotency_key="shop-1"), 422, "idempotency_key_reused")


def test_a_repeated_push_answers_as_the_first(owner: APIClient, connection: ErpConnection) -> None:
    path = create_approved(owner)
    first = post(owner, f"{path}/push", idempotency_key="push-1")
    assert (first.status_code, first["Retry-After"]) == (202, "1")
    ErpExport.objects.update(attempts=7)
    assert same(first, post(owner, f"{path}/push", idempotency_key="push-1"))
    refusal(post(owner, f"{path}/push", idempotency_key="push-2"), 409, "LIVE_EXPORT")
    post(owner, f"{first['Location']}/cancel")
    # The answer to a request stays the answer to it, whatever has come of the action.
    assert same(first, post(owner, f"{path}/push", idempotency_key="push-1"))
    again = post(owner, f"{path}/retry-push", idempotency_key="retry-1")
    assert same(again, post(owner, f"{path}/retry-push", idempotency_key="retry-1"))
    assert ErpExport.objects.count() == 2


def test_what_was_refused_may_succeed_later(owner: APIClient, connection: ErpConnection) -> None:
    path = f"{ORDERS}/{create(owner)['id']}"
    refusal(post(owner, f"{path}/push", idempotency_key="k"), 409, "NOT_APPROVED")
    refusal(post(owner, ORDERS, {"lines": 7}, idempotency_key="k"), 400, "invalid")
    assert not IdempotencyKey.objects.exists()
    post(owner, f"{path}/approve")
    assert post(owner, f"{path}/push", idempotency_key="k").status_code == 202


def test_keys_belong_to_an_org(owner: APIClient, stranger: APIClient) -> None:
    mine = post(owner, ORDERS, ORDER, idempotency_key="k")
    theirs = post(stranger, ORDERS, ORDER, idempotency_key="k")
    assert theirs.status_code == 201
    assert mine.json()["id"] != theirs.json()["id"]


def test_a_replay_needs_the_permission_of_the_action(owner: APIClient, teammate: APIClient) -> None:
    post(owner, ORDERS, ORDER, idempotency_key="k")
    refusal(post(teammate, ORDERS, ORDER, idempotency_key="k"), 403, "permission_denied")


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, '"open', "ö", 'a"b'])
def test_a_key_that_is_none_is_refused(owner: APIClient, key: str) -> None:
    response = post(owner, ORDERS, ORDER, idempotency_key=key)
    assert wrong_parameters(response) == {"Idempotency-Key"}
    assert not DraftOrder.objects.exists()


def test_old_answers_are_forgotten(owner: APIClient) -> None:
    for key in ("old", "new"):
        post(owner, ORDERS, ORDER, idempotency_key=key)
    old = IdempotencyKey.objects.filter(key="old")
    old.update(created_at=timezone.now() - idempotency.KEPT - timedelta(minutes=1))
    assert idempotency.prune() == 1
    assert IdempotencyKey.objects.get().key == "new"


# All at once.
def at_once(count: int, ask: Callable[[int], Response]) -> Counter[int]:
    """How often each status was answered, when all ask in the same moment."""
    statuses: list[int] = []
    ready = threading.Barrier(count)

    def one(number: int) -> None:
        try:
            ready.wait(30)
            statuses.append(ask(number).status_code)
        finally:
            database.close()

    threads = [threading.Thread(target=one, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(statuses)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (lambda n: {"idempotency_key": "push"}, {202: PARALLEL}),
        (lambda n: {"idempotency_key": f"push-{n}"}, {202: 1, 409: PARALLEL - 1}),
        (lambda n: {}, {202: 1, 409: PARALLEL - 1}),
    ],
    ids=["the same key", "different keys", "no key"],
)
def test_many_pushes_of_an_order_at_once_make_one_export(
    org: Org,
    owner: APIClient,
    connection: ErpConnection,
    headers: Callable[[int], dict[str, Any]],
    expected: dict[int, int],
) -> None:
    path = f"{create_approved(owner)}/push"
    service = person("otto", org, "Integration")
    clients = [client(service, org) for _ in range(PARALLEL)]
    assert at_once(PARALLEL, lambda n: post(clients[n], path, **headers(n))) == expected
    assert ErpExport.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_creations_at_once_under_one_key_make_one_order(owner: APIClient) -> None:
    def ask(number: int) -> Response:
        return post(owner, ORDERS, ORDER, idempotency_key="create")

    assert at_once(10, ask) == {201: 10}
    assert DraftOrder.objects.count() == 1
