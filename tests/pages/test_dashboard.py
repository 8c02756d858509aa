"""The start page of the admin, and the search for an order."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from backoffice.lists import BoundedPaginator
from backoffice.start import figures as dashboard
from exports.delivery import heartbeat
from exports.models import ErpAck, ErpExport, ErpExportEvent
from exports.pushing.push import cancel_export, push_order
from kernel.db import db_now
from orders.models import Customer, DraftOrder
from tests.support.builders import (
    a_connection,
    a_user,
    an_approved_order,
    an_order,
    an_org,
    pause_by_system,
)

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

CONFIG = {"mode": "sftp", "host": "erp.example", "username": "u", "password": "p"}
CONFIG |= {"export_path": "/out", "host_keys": []}
INDEX, SEARCH = "/admin/", "/admin/search/"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Shop:
    """An org with a connection."""

    def __init__(self, slug: str) -> None:
        self.org = an_org(slug)
        self.ann = a_user(self.org, f"ann-{slug}")
        self.erp = a_connection(self.org, CONFIG)

    def export(self, number: str, **fields: Any) -> ErpExport:
        """An export that came as far as the fields say."""
        order = an_approved_order(self.org, self.ann, number)
        export = push_order(order.id, actor=self.ann)
        if status := fields.get("status"):
            orders = DraftOrder.objects.filter(id=order.id)
            orders.update(status="ERROR" if status == "FAILED" else "PUSHED")
        ErpExport.objects.filter(id=export.id).update(**fields)
        export.refresh_from_db()
        return export

    def sent(self, number: str, *, ago: timedelta = timedelta(), **fields: Any) -> ErpExport:
        sent = {"status": "SENT", "sent_at": db_now() - ago, "sent_evidence": "OBSERVED"}
        return self.export(number, **{**sent, **fields})

    def failed(self, number: str, kind: str = "FAILED", *, ago: timedelta = timedelta()) -> None:
        export = self.export(number, status="FAILED", next_attempt_at=None)
        at = db_now() - ago
        ErpExportEvent.objects.create(export=export, kind=kind, status="FAILED", at=at)

    def ack(self, classification: str, **fields: Any) -> ErpAck:
        values = {
            "org": self.org,
            "erp_connection": self.erp,
            "filename": f"ack_{ErpAck.objects.count()}.json",
            "sha256": "0",
            "raw": "{}",
            "is_accepted": True,
            "classification": classification,
        }
        return ErpAck.objects.create(**{**values, **fields})

    def trouble(self, size: int) -> None:
        """Some of everything that needs attention."""
        name = self.org.slug
        for number in range(size):
            self.failed(f"{name}-failed-{number}")
            self.export(f"{name}-unknown-{number}", next_attempt_at=None)
            self.sent(f"{name}-overdue-{number}", ack_due_at=db_now() - HOUR)
            for classification in ("CONFLICT", "LATE", "UNMATCHED", "MALFORMED"):
                self.ack(classification)
            self.ack("LATE", decided_at=db_now())
        type(self.erp).objects.filter(id=self.erp.id).update(last_poll_at=db_now())
        pause_by_system(self.erp, "HOST_KEY_CHANGED")

    def client(self, *, without: tuple[str, ...] = ()) -> Client:
        """Somebody who may look at everything but what `without` names."""
        user = a_user(self.org, f"vera-{self.org.slug}")
        viewer = Group.objects.get(name="Viewer").permissions.exclude(codename__in=without)
        user.user_permissions.set(viewer)
        User.objects.filter(pk=user.pk).update(is_staff=True)
        return logged_in(user)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def acme() -> Shop:
    return Shop("acme")


@pytest.fixture
def other() -> Shop:
    return Shop("other")


def waiting(client: Client) -> dict[str, tuple[int, str]]:
    """What the page says waits for a person: count and link, by what is said of it."""
    figures = client.get(INDEX).context["waiting"]
    return {figure.text: (figure.count, figure.url) for figure in figures}


def found(client: Client, text: str) -> list[str]:
    return [str(order) for order, *_ in client.get(SEARCH, {"q": text}).context["found"]]


# What waits for a person.


def test_each_count_leads_to_a_list_with_that_many(acme: Shop, other: Shop, root: Client) -> None:
    acme.trouble(2)
    other.trouble(1)
    acme.export("on-its-way")
    for client, (many, one) in {
        root: (3, 2),
        acme.client(): (2, 1),
        other.client(): (1, 1),
    }.items():
        figures = waiting(client)
        assert len(figures) == 8
        for text, (count, url) in figures.items():
            assert count == (one if "paused" in text else many), text
            assert client.get(url).context["cl"].result_count == count, text


def test_what_is_not_there_is_not_shown(acme: Shop) -> None:
    client = acme.client()
    acme.sent("PO-1")
    page = client.get(INDEX)
    assert page.context["waiting"] == []
    assert "Nothing needs your attention" in page.content.decode()
    acme.ack("MALFORMED")
    page = client.get(INDEX)
    assert [figure.text for figure in page.context["waiting"]] == ["malformed ack"]
    assert "Nothing needs your attention" not in page.content.decode()


def test_an_inactive_connection_needs_nobody(acme: Shop) -> None:
    pause_by_system(acme.erp, "AUTH_FAILED")
    type(acme.erp).objects.update(active=False)
    assert waiting(acme.client()) == {}


def test_orders_that_wait_lead_to_their_lists(acme: Shop, other: Shop) -> None:
    an_order(acme.org, "incomplete", lines=0)
    an_order(acme.org, "ready")
    an_approved_order(acme.org, acme.ann, "approved")
    acme.export("pushed")
    acme.sent("sent")
    an_order(other.org, "foreign")
    client = acme.client()
    for figure in client.get(INDEX).context["orders"]:
        assert figure.count == client.get(figure.url).context["cl"].result_count == 1, figure


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("erpack", {"malformed ack", "acks match"}),
        ("erpexport", {"unknown", "overdue"}),
        ("draftorder", {"failed"}),
        ("erpconnection", {"paused"}),
    ],
)
def test_who_may_not_see_a_list_is_told_nothing_of_it(
    acme: Shop, model: str, missing: set[str]
) -> None:
    acme.trouble(2)
    client = acme.client(without=(f"view_{model}",))
    assert not [text for text in waiting(client) if any(word in text for word in missing)]
    page = client.get(INDEX)
    assert ("Last ack" in page.content.decode()) == (model == "draftorder")
    assert ("orders" in page.context) == (model != "draftorder")
    assert ("charts" in page.context) == (model != "erpexport")
    assert client.get(SEARCH).status_code == (403 if model == "draftorder" else 200)


def test_without_a_worker_the_page_says_how_to_start_one(acme: Shop) -> None:
    client = acme.client()
    assert "manage.py worker" in client.get(INDEX).content.decode()
    heartbeat.register()
    assert "manage.py worker" not in client.get(INDEX).content.decode()


# How deliveries go.


def test_success_is_what_was_sent_and_has_not_failed_since(acme: Shop) -> None:
    for number in range(6):
        acme.sent(f"sent-{number}")
    acme.sent("long ago", ago=30 * DAY)
    acme.failed("unreachable")
    acme.failed("settled", "RESOLVED")
    refused = acme.sent("refused", ago=2 * DAY, status="FAILED")
    ErpExportEvent.objects.create(export=refused, kind="REFUSED", status="FAILED")
    cancel_export(acme.export("cancelled").id, actor=acme.ann, reason="")
    (row,) = dashboard.connection_health(acme.ann, now=db_now())
    day, week = row.traffic.last_24_hours, row.traffic.last_7_days
    assert (day.sent, day.failed, day.success) == (6, 3, 6 / 9)
    assert (week.sent, week.failed, week.success) == (7, 3, 6 / 9)
    assert dashboard.traffic(acme.ann, now=db_now()) == row.traffic


def test_without_deliveries_there_is_no_rate(acme: Shop) -> None:
    (row,) = dashboard.connection_health(acme.ann, now=db_now())
    assert row.traffic.last_7_days.success is None
    assert len(row.traffic.hours) == 24
    assert len(row.traffic.days) == 7


def test_everything_is_counted_in_its_hour(acme: Shop) -> None:
    for number, hours in enumerate((0, 0, 5)):
        acme.sent(f"PO-{number}", ago=hours * HOUR)
    counts = [count.sent for count in dashboard.traffic(acme.ann, now=db_now()).hours.values()]
    assert counts[-1] == 2
    assert counts[-6] == 1
    assert sum(counts) == 3


def test_a_connection_says_when_it_was_last_heard_of(acme: Shop) -> None:
    first = acme.export("first")
    acme.export("second")
    sent = acme.sent("sent", ago=HOUR)
    acme.sent("before", ago=2 * HOUR)
    ack = acme.ack("APPLIED")
    (row,) = dashboard.connection_health(acme.ann, now=db_now())
    assert row.oldest_waiting == first.created_at
    assert row.last_sent == sent.sent_at
    ack.refresh_from_db()
    assert row.last_ack == ack.seen_at


def test_connections_that_deliver_nothing_come_first(acme: Shop, other: Shop, root: Client) -> None:
    pause_by_system(other.erp, "AUTH_FAILED")
    rows = root.get(INDEX).context["connections"]
    assert [row["connection"] for row in rows] == [other.erp, acme.erp]
    assert "The server" in rows[0]["state"]
    (row,) = acme.client().get(INDEX).context["connections"]
    assert row["connection"] == acme.erp


def test_charts_say_the_same_in_figures(acme: Shop) -> None:
    acme.sent("sent")
    acme.failed("failed")
    page = acme.client().get(INDEX)
    text = page.content.decode()
    hours, days = page.context["charts"]
    assert hours.rows[-1][1] == days.rows[-1][1]
    assert 'aria-label="Last 24 hours: 1 sent, 1 failed"' in text
    assert text.count("1 sent, 1 failed</title>") == 2
    assert "<script>" not in text
    assert "style=" not in text


# What it costs.


def test_the_number_of_queries_is_the_same_for_any_amount(acme: Shop) -> None:
    client = acme.client()

    def queries(path: str) -> int:
        with CaptureQueriesContext(database) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    pages = (INDEX, f"{SEARCH}?q=acme", "/admin/exports/erpexport/", "/admin/orders/draftorder/")
    acme.trouble(1)
    few = {path: queries(path) for path in pages}
    for number in range(5):
        acme.sent(f"acme-{number}", ago=number * HOUR)
        acme.failed(f"acme-more-{number}")
    assert {path: queries(path) for path in pages} == few
    assert few[INDEX] <= 21


def test_a_list_counts_only_so_far(acme: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedPaginator, "MOST", 3)
    for number in range(3):
        an_order(acme.org, f"PO-{number}")
    client = acme.client()
    page = client.get("/admin/orders/draftorder/").content.decode()
    assert "3 or more orders" in page
    assert "3 results" not in page
    assert "3 or more" not in client.get("/admin/orders/customer/").content.decode()


def test_a_list_does_not_count_for_each_choice_of_a_filter(acme: Shop) -> None:
    client = acme.client()
    for asked in ("", "?_facets=True"):
        page = client.get(f"/admin/exports/erpexport/{asked}").content.decode()
        assert "Show counts" not in page
        assert "Hide counts" not in page


# Where is my order?


def test_an_order_is_found_by_what_people_have_in_hand(acme: Shop) -> None:
    client = acme.client()
    export = acme.sent("PO-1", status="ACKED", erp_order_id="SO-77", acked_at=db_now())
    customer = Customer.objects.create(org=acme.org, erp_customer_number="0815", name="Anton AG")
    an_order(acme.org, "PO-12", customer=customer)
    assert sorted(found(client, "PO-")) == ["PO-1", "PO-12"]
    assert found(client, "PO-1") == ["PO-1", "PO-12"]
    assert found(client, "SO-77") == ["PO-1"]
    assert found(client, export.filename) == ["PO-1"]
    assert found(client, f"ack_{export.filename}") == ["PO-1"]
    assert found(client, "0815") == ["PO-12"]
    assert found(client, "anton") == ["PO-12"]
    assert found(client, "muster") == ["PO-1"]
    assert found(client, "O-1") == []
    assert found(client, "%") == []
    assert found(client, "") == []
    assert found(client, "\0") == []


def test_a_whole_number_leads_straight_to_its_order(acme: Shop) -> None:
    order = an_order(acme.org, "PO-12")
    response = acme.client().get(SEARCH, {"q": " PO-12 "})
    assert response["Location"] == f"/admin/orders/draftorder/{order.pk}/change/"


def test_the_search_says_where_the_order_is(acme: Shop) -> None:
    client = acme.client()
    acme.export("PO-1a", next_attempt_at=None)
    acme.export("PO-1b")
    acme.sent("PO-1c", dropzone_path="/out/file.json")
    acme.sent("PO-1d", picked_up_at=db_now())
    acme.sent("PO-1e", status="ACKED", erp_order_id="SO-1", acked_at=db_now())
    acme.export("PO-1f", status="FAILED", error_json={"code": "X", "message": "Unknown SKU."})
    an_order(acme.org, "PO-1g")
    page = client.get(SEARCH, {"q": "PO-1"}).content.decode()
    for sentence in (
        "It is not known whether the file arrived.",
        "Waiting: no worker is running.",
        "The file was sent.",
        "as /out/file.json",
        "The ERP picked the file up.",
        ", picked up ",
        "In the ERP as SO-1.",
        ", acknowledged ",
        "Not in the ERP: Unknown SKU.",
        "Not pushed yet.",
    ):
        assert page.count(sentence) == 1, sentence


def test_the_search_stays_within_the_orgs_of_the_user(
    acme: Shop, other: Shop, root: Client
) -> None:
    export = acme.sent("PO-1", erp_order_id="SO-1")
    stranger = other.client()
    for text in ("PO-1", "PO", "SO-1", export.filename, "Muster", "4711"):
        assert found(stranger, text) == []
    assert found(root, "SO-1") == ["PO-1"]


def test_who_may_not_see_exports_finds_nothing_by_them(acme: Shop) -> None:
    export = acme.sent("PO-1", erp_order_id="SO-1")
    client = acme.client(without=("view_erpexport",))
    assert found(client, "SO-1") == found(client, export.filename) == []
    assert export.filename not in client.get(SEARCH, {"q": "PO"}).content.decode()
    assert found(client, "PO") == ["PO-1"]


def test_no_more_than_a_page_is_found(acme: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.reporting.search.MOST", 2)
    monkeypatch.setattr("backoffice.site.MOST", 2)
    for number in range(4):
        an_order(acme.org, f"PO-{number}")
    page = acme.client().get(SEARCH, {"q": "PO"})
    assert len(page.context["found"]) == 2
    assert "first 2" in page.content.decode()
