"""Lists of the API: filters, orders, pages, and how changes are followed without a gap."""

import threading
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Org
from api.pagination import SINCE
from api.urls import router
from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport
from kernel.db import Now
from orders.models import DraftOrder
from tests.support.api import (
    EXPORTS,
    ORDERS,
    create,
    create_approved,
    create_failed,
    post,
    spread,
    wrong_parameters,
)

pytestmark = pytest.mark.django_db

ACKS = "/api/v1/erp-acks"


def ids(api: APIClient, path: str) -> list[str]:
    response = api.get(path)
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def walk(api: APIClient, path: str) -> list[list[str]]:
    """The ids of each page, to the end."""
    pages = []
    url: str | None = path
    while url:
        body = api.get(url).json()
        pages.append([row["id"] for row in body["results"]])
        url = body["next"]
    return pages


# Filters.
def test_orders_are_filtered(owner: APIClient) -> None:
    first = create(owner)
    second = create(
        owner,
        external_order_number="PO-2",
        customer={"erp_customer_number": "4712", "name": "Neu AG"},
    )
    unfinished = create(owner, external_order_number="PO-3", lines=[])
    spread(DraftOrder, second["id"], unfinished["id"])
    spread(DraftOrder, second["id"], unfinished["id"], field="updated_at")
    an_hour_ago = timezone.now() - timedelta(hours=1)
    DraftOrder.objects.filter(id=first["id"]).update(created_at=an_hour_ago, updated_at=an_hour_ago)
    since = quote((timezone.now() - timedelta(minutes=1)).isoformat())
    newest_first = [unfinished["id"], second["id"], first["id"]]
    for query, expected in {
        "": newest_first,
        "?external_order_number=PO-2": [second["id"]],
        "?erp_customer_number=4712": [second["id"]],
        f"?customer={second['customer']['id']}": [second["id"]],
        "?status=NEEDS_REVIEW": [unfinished["id"]],
        "?status=NEEDS_REVIEW&status=READY": newest_first,
        "?status=READY&external_order_number=PO-3": [],
        f"?created_after={since}": newest_first[:2],
        f"?created_before={since}": [first["id"]],
        f"?updated_after={since}": newest_first[:2],
        f"?updated_before={since}": [first["id"]],
        "?ordering=created_at": newest_first[::-1],
        "?ordering=-updated_at": newest_first,
    }.items():
        assert ids(owner, ORDERS + query) == expected, query


def test_a_bound_may_be_as_far_away_as_times_go(owner: APIClient) -> None:
    order = create(owner)["id"]
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    for name in ("created", "updated"):
        assert ids(owner, f"{ORDERS}?{name}_after={first}&{name}_before={last}") == [order]
        assert ids(owner, f"{ORDERS}?{name}_after={last}") == []
        assert ids(owner, f"{ORDERS}?{name}_before={first}") == []


def test_exports_are_filtered_by_what_they_carry(
    owner: APIClient, connection: ErpConnection
) -> None:
    _, failed = create_failed(owner)
    export = owner.get(failed).json()
    customer = DraftOrder.objects.get().customer_id
    for query in (
        "external_order_number=PO-12345",
        "erp_customer_number=4711",
        f"customer={customer}",
        f"erp_connection={connection.id}",
        f"filename={export['filename']}",
        "overdue=false",
        "status=FAILED&status=SENT",
    ):
        assert ids(owner, f"{EXPORTS}?{query}") == [export["id"]], query
    for query in (
        "external_order_number=PO-1234",
        "erp_customer_number=4712",
        f"customer={connection.id}",
        f"erp_connection={customer}",
        "filename=other.json",
        "erp_order_id=SO-1",
        "overdue=true",
    ):
        assert ids(owner, f"{EXPORTS}?{query}") == [], query


def test_overdue_exports_are_found(owner: APIClient, connection: ErpConnection) -> None:
    export = post(owner, f"{create_approved(owner)}/push").json()["id"]
    now = timezone.now()
    ErpExport.objects.update(
        status="SENT", sent_at=now, sent_evidence="OBSERVED", ack_due_at=now - timedelta(hours=1)
    )
    assert ids(owner, f"{EXPORTS}?overdue=true") == []
    ErpConnection.objects.update(last_poll_at=now)
    assert ids(owner, f"{EXPORTS}?overdue=true") == [export]
    assert owner.get(f"{EXPORTS}/{export}").json()["is_overdue"] is True


def test_answers_of_the_erp_are_listed(
    owner: APIClient, stranger: APIClient, org: Org, connection: ErpConnection
) -> None:
    def ack(name: str, **fields: Any) -> str:
        made = ErpAck.objects.create(
            org=org, erp_connection=connection, filename=name, sha256="0" * 64, **fields
        )
        return str(made.id)

    odd = ack("ack_x.json", classification="UNMATCHED", raw='{"status": "ACKED"}')
    done = ack("ack_y.json", classification="DISMISSED", raw="", decided_at=timezone.now())
    spread(ErpAck, odd, done, field="seen_at")
    assert ids(owner, ACKS) == [done, odd]
    assert (
        ids(owner, f"{ACKS}?open=true") == ids(owner, f"{ACKS}?classification=UNMATCHED") == [odd]
    )
    assert ids(owner, f"{ACKS}?open=false&erp_connection={connection.id}") == [done]
    assert "raw" not in owner.get(ACKS).json()["results"][0]
    assert owner.get(f"{ACKS}/{odd}").json()["raw"] == '{"status": "ACKED"}'
    assert ids(stranger, ACKS) == []
    assert stranger.get(f"{ACKS}/{odd}").status_code == 404


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("statsu=READY", "statsu"),
        ("status=", "status"),
        ("customer=x", "customer"),
        ("created_after=yesterday", "created_after"),
        ("external_order_number=%00", "external_order_number"),
        ("ordering=status", "ordering"),
        ("external_order_number=PO-1&external_order_number=PO-2", "external_order_number"),
        ("page_size=10&page_size=20", "page_size"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("page_size=%C2%B2", "page_size"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=" + urlsafe_b64encode(b"2025-01-01T00:00:00 1").decode(), "cursor"),
        ("cursor=" + urlsafe_b64encode(b"\xff 1").decode(), "cursor"),
        ("updated_since=2025-01-01T00:00:00Z", "updated_since"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(
    owner: APIClient, query: str, parameter: str
) -> None:
    assert wrong_parameters(owner.get(f"{ORDERS}?{query}")) == {parameter}


@pytest.mark.parametrize(
    "name", ["draft-order", "erp-export", "erp-connection", "erp-ack", "batch"]
)
def test_no_value_of_a_parameter_breaks_a_list(owner: APIClient, name: str) -> None:
    url = reverse(f"{name}-list")
    [view] = [view for _, view, basename in router.registry if basename == name]
    cursors = [
        urlsafe_b64encode(f"{at} {key}".encode()).decode()
        for at in ("2025-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9" * 3000, "\0")
        for key in (UUID(int=1), "9" * 3000, "\0")
    ]
    values = ["\0", "9" * 3000, "-1", "(", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    filters = [*view.filterset_class.base_filters, "page_size", "ordering", SINCE]
    for parameter, asked in {**dict.fromkeys(filters, values), "cursor": cursors}.items():
        for value in asked:
            response = owner.get(url, {parameter: value})
            assert response.status_code in (200, 400), (parameter, value)
            assert response.status_code == 400 or "\0" not in value
    for unknown in ("notes__regex", "org__slug", "q", "search", "nötig"):
        assert wrong_parameters(owner.get(url, {unknown: "("})) == {unknown}


# Pages.
@pytest.mark.ledger
@pytest.mark.parametrize("moment", [Now(), timezone.now(), timezone.now().replace(microsecond=0)])
def test_pages_hold_every_row_once_though_all_are_of_one_moment(
    owner: APIClient, moment: Any
) -> None:
    for number in range(7):
        create(owner, external_order_number=f"PO-{number}")
    DraftOrder.objects.update(created_at=moment, updated_at=moment)
    expected = sorted((str(o.id) for o in DraftOrder.objects.all()), reverse=True)
    for ordering, wanted in {
        "-created_at": expected,
        "created_at": expected[::-1],
        "updated_at": expected[::-1],
    }.items():
        pages = walk(owner, f"{ORDERS}?page_size=3&ordering={ordering}")
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [key for page in pages for key in page] == wanted


def test_a_page_stays_in_place_while_rows_are_added(owner: APIClient) -> None:
    old = [create(owner, external_order_number=f"PO-{n}")["id"] for n in range(3)]
    spread(DraftOrder, *old)
    first = owner.get(f"{ORDERS}?page_size=2&status=READY").json()
    create(owner, external_order_number="PO-9")
    assert [o["id"] for o in first["results"]] == [old[2], old[1]]
    assert ids(owner, first["next"]) == [old[0]]


# Following.
def test_changes_are_followed(owner: APIClient, connection: ErpConnection) -> None:
    since = "2025-01-01T00:00:00Z"
    exports = [
        post(owner, f"{create_approved(owner, external_order_number=f'PO-{n}')}/push").json()["id"]
        for n in range(3)
    ]
    changed_at = timezone.now() - timedelta(minutes=5)
    for number, key in enumerate(exports):
        ErpExport.objects.filter(id=key).update(updated_at=changed_at + timedelta(seconds=number))

    feed = owner.get(f"{EXPORTS}?updated_since={since}&page_size=2").json()
    assert [e["id"] for e in feed["results"]] == exports[:2]
    feed = owner.get(feed["next"]).json()
    assert [e["id"] for e in feed["results"]] == exports[2:]
    feed = owner.get(feed["next"]).json()
    assert feed["results"] == []
    ErpExport.objects.filter(id=exports[0]).update(updated_at=changed_at + timedelta(minutes=1))
    feed = owner.get(feed["next"]).json()
    assert [e["id"] for e in feed["results"]] == [exports[0]]

    nothing_yet = f"{EXPORTS}?updated_since={quote(timezone.now().isoformat())}"
    assert owner.get(nothing_yet).json() == {
        "next": f"http://testserver{nothing_yet}",
        "results": [],
    }
    wrong = owner.get(f"{EXPORTS}?updated_since={since}&ordering=created_at")
    assert wrong_parameters(wrong) == {"ordering"}
    assert wrong_parameters(owner.get(f"{EXPORTS}?updated_since=now")) == {"updated_since"}


@pytest.mark.django_db(transaction=True)
def test_no_commit_is_skipped_however_late_it_comes(
    owner: APIClient, connection: ErpConnection
) -> None:
    """A row whose transaction began first and ends last must not appear behind the reader."""
    early = post(owner, f"{create_approved(owner)}/push").json()["id"]
    late = post(owner, f"{create_approved(owner, external_order_number='PO-2')}/push").json()["id"]
    long_ago = timezone.now() - timedelta(minutes=5)
    ErpExport.objects.update(updated_at=long_ago)
    has_written, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        try:
            with transaction.atomic():
                ErpExport.objects.filter(id=early).update(updated_at=Now())
                has_written.set()
                assert may_commit.wait(30)
        finally:
            database.close()

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert has_written.wait(30)
    since = quote((long_ago + timedelta(seconds=1)).isoformat())
    ErpExport.objects.filter(id=late).update(updated_at=Now())
    # Without the open transaction, the list shows the later change after two seconds.
    threading.Event().wait(3)
    feed = owner.get(f"{EXPORTS}?updated_since={since}").json()
    assert feed["results"] == []
    may_commit.set()
    writer.join()
    feed = owner.get(feed["next"]).json()
    assert [e["id"] for e in feed["results"]] == [early, late]


# How much it costs.
@pytest.mark.parametrize("query", ["", "?ordering=updated_at", "?status=READY", "?page_size=2"])
def test_a_page_is_read_along_an_index(owner: APIClient, query: str) -> None:
    create(owner)
    with CaptureQueriesContext(database) as captured:
        ids(owner, ORDERS + query)
    [listing] = [q["sql"] for q in captured if 'FROM "draft_order"' in q["sql"]]
    with database.cursor() as cursor:
        # Whatever statistics earlier tests have left: is there an index that gives the order?
        for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {listing}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Sort" not in plan, plan
    assert "Index Scan using idx_draft_order" in plan, plan
