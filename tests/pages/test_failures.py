"""Lists and pages of exports and orders: what failed, why, and whether a retry can help."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Org, User
from connectors.errors import CATALOGUE, ConnectorError
from connectors.models import ErpConnection
from exports import lifecycle
from exports.lifecycle import Event
from exports.models import ErpAck, ErpExport, ErpExportEvent
from exports.pushing.push import retry_order
from orders.models import Customer, DraftOrder, DraftOrderLine
from tests.support.admins import a_member, logged_in, text
from tests.support.builders import an_approved_order, an_order, an_org, some_exports

pytestmark = pytest.mark.django_db

ORDERS = "/admin/orders/draftorder/"
EXPORTS = "/admin/exports/erpexport/"
FAILURES = f"{EXPORTS}failures/"


def fail(
    export: ErpExport, code: str = "ERP_REFUSED", *, erp_code: str | None = None, **error: Any
) -> None:
    report = {**ConnectorError(code, **error).as_json(), "erp_code": erp_code}
    assert lifecycle.apply(
        Event.FAILED, [export.id], details={export.id: report}, error_json=report
    )


def doubt(export: ErpExport) -> None:
    ErpExport.objects.filter(id=export.id).update(
        next_attempt_at=None, error_json=ConnectorError("OUTCOME_UNKNOWN").as_json()
    )


# Failures by cause.
def test_failures_are_grouped_and_led_to(org: Org, mounted: ErpConnection, oskar: User) -> None:
    exports = some_exports(org, oskar, 6)
    fail(exports[0])
    for export in exports[1:3]:
        fail(export, erp_code="LOCK & <b>")
    fail(exports[3], "GIVEN_UP")
    doubt(exports[4])
    client = logged_in(oskar)
    page = text(client.get(FAILURES))
    for code in ("ERP_REFUSED", "GIVEN_UP", "OUTCOME_UNKNOWN"):
        assert CATALOGUE[code].action.split(",")[0] in page
    for count, query in (
        (1, f"?failure=open&error=ERP_REFUSED%3A&erp_connection__id__exact={mounted.id}"),
        (
            2,
            "?failure=open&error=ERP_REFUSED%3ALOCK+%26+%3Cb%3E"
            f"&erp_connection__id__exact={mounted.id}",
        ),
        (1, f"?failure=open&error=GIVEN_UP&erp_connection__id__exact={mounted.id}"),
        (1, f"?needs_decision=yes&error=OUTCOME_UNKNOWN&erp_connection__id__exact={mounted.id}"),
    ):
        assert query.replace("&", "&amp;") in page
        assert f"{count} ERP export" in text(client.get(f"{EXPORTS}{query}"))


def test_a_group_says_what_the_erp_said(org: Org, mounted: ErpConnection, oskar: User) -> None:
    first, second = some_exports(org, oskar, 2)
    fail(first, public="The ERP refused the order: PERIOD_CLOSED")
    client = logged_in(oskar)
    assert "<dt>Error</dt><dd>The ERP refused the order: PERIOD_CLOSED</dd>" in text(
        client.get(FAILURES)
    )
    fail(second, public="The ERP refused the order: ITEM_UNKNOWN")
    assert "<dt>Example error</dt><dd>The ERP refused" in text(client.get(FAILURES))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "The ERP refused the order: LOCK & <b>: It is locked.",
            "The ERP refused the order: It is locked.",
        ),
        ("The ERP refused the order: LOCK & <b>", "The ERP refused the order"),
    ],
)
def test_a_group_names_the_code_of_the_erp_once(
    org: Org, mounted: ErpConnection, oskar: User, message: str, told: str
) -> None:
    (export,) = some_exports(org, oskar)
    fail(export, public=message, erp_code="LOCK & <b>")
    page = text(logged_in(oskar).get(FAILURES))
    assert "<code>LOCK &amp; &lt;b&gt;</code>" in page
    assert f"<dd>{told}</dd>" in page


def test_a_group_is_retried_and_then_gone(org: Org, mounted: ErpConnection, oskar: User) -> None:
    first, second, other, another = some_exports(org, oskar, 4)
    for export in (first, second):
        fail(export, erp_code="LOCKED")
    fail(other, "GIVEN_UP")
    fail(another, erp_code="PERIOD_CLOSED")
    client = logged_in(oskar)
    url = (
        f"/admin/orders/draftorder/decide/retry/?error=ERP_REFUSED%3ALOCKED&connection={mounted.id}"
    )
    assert url.replace("&", "&amp;") in text(client.get(FAILURES))
    assert "2 orders will be pushed again" in text(client.get(url))
    ids = f"{first.draft_order_id} {second.draft_order_id}"
    posted = {"orders": ids, "back": FAILURES}
    page = client.post("/admin/orders/draftorder/decide/retry/", posted, follow=True)
    assert page.redirect_chain[-1][0] == FAILURES
    assert "LOCKED" not in text(page)
    for code in ("GIVEN_UP", "PERIOD_CLOSED"):
        assert code in text(page)
    assert ErpExport.objects.filter(status="PENDING").count() == 2


def test_only_the_latest_failure_of_an_order_counts(
    org: Org, mounted: ErpConnection, oskar: User
) -> None:
    (export,) = some_exports(org, oskar)
    fail(export)
    ErpExport.objects.update(created_at=timezone.now() - timedelta(hours=1))
    fail(retry_order(export.draft_order_id, actor=oskar), "GIVEN_UP")
    page = text(logged_in(oskar).get(FAILURES))
    assert "GIVEN_UP" in page
    assert "ERP_REFUSED" not in page


def test_failures_of_other_orgs_are_not_there(
    org: Org, mounted: ErpConnection, oskar: User
) -> None:
    (export,) = some_exports(org, oskar)
    fail(export)
    other = an_org("umbrella")
    stranger = logged_in(a_member(other, "sue", "Operator"))
    assert "No failed export needs attention" in text(stranger.get(FAILURES))
    url = f"/admin/orders/draftorder/decide/retry/?error=ERP_REFUSED&connection={mounted.id}"
    assert stranger.get(url).status_code == 404


def test_who_may_not_push_is_offered_no_retry(
    org: Org, mounted: ErpConnection, oskar: User
) -> None:
    (export,) = some_exports(org, oskar)
    fail(export)
    viewer = logged_in(a_member(org, "vera", "Viewer"))
    assert "decide/retry" not in text(viewer.get(FAILURES))


@pytest.mark.parametrize("query", ["error=X", "error=X&connection=1", "batch=1", "batch="])
def test_a_group_that_is_none_is_not_found(oskar: User, query: str) -> None:
    client = logged_in(oskar)
    assert client.get(f"/admin/orders/draftorder/decide/retry/?{query}").status_code == 404


# The list and the page of exports.
def test_exports_are_found_by_error_and_time(org: Org, mounted: ErpConnection, oskar: User) -> None:
    old, new = some_exports(org, oskar, 2)
    fail(old)
    ErpExport.objects.filter(id=old.id).update(created_at="2020-01-01T00:00Z")
    client = logged_in(oskar)
    page = text(client.get(EXPORTS, {"error": "ERP_REFUSED"}))
    assert old.filename in page
    assert new.filename not in page
    page = text(client.get(EXPORTS, {"created_at__gte": "2021-01-01 00:00:00+00:00"}))
    assert new.filename in page
    assert old.filename not in page


def test_the_list_reads_no_payload(org: Org, mounted: ErpConnection, oskar: User) -> None:
    some_exports(org, oskar, 3)
    with CaptureQueriesContext(database) as queries:
        logged_in(oskar).get(EXPORTS)
    assert queries.captured_queries
    assert not [q for q in queries.captured_queries if '"erp_export"."payload",' in q["sql"]]


def test_the_timeline_says_when_what_who_and_why(
    org: Org, mounted: ErpConnection, oskar: User
) -> None:
    (export,) = some_exports(org, oskar)
    fail(export, public="The ERP refused the order: <b>no price</b>.")
    ErpExportEvent.objects.filter(kind="CREATED").update(at=timezone.now() - timedelta(minutes=3))
    ErpAck.objects.create(
        org=org, erp_connection=mounted, export=export, filename=f"error_{export.filename}",
        sha256="0", raw='{"message": "<b>no price</b>"}', is_accepted=False,
        classification="APPLIED",
    )  # fmt: skip
    page = text(logged_in(oskar).get(reverse("admin:exports_erpexport_change", args=[export.pk])))
    timeline = page[page.index('class="module timeline"') :]
    assert "oskar" in timeline
    assert "3 min later" in timeline
    assert CATALOGUE["ERP_REFUSED"].action in timeline
    assert "{&quot;message&quot;: &quot;&lt;b&gt;no price&lt;/b&gt;&quot;}" in page
    assert "<b>no price" not in page


# The list of orders.
def test_what_orders_are_worth_is_exact(org: Org, oskar: User) -> None:
    order = an_order(org, "PO-1", lines=0)
    DraftOrderLine.objects.bulk_create(
        DraftOrderLine(order=order, line_no=n, qty=qty, unit_price=price)
        for n, (qty, price) in enumerate(
            [("999999999.999999", "999999999.999999"), ("0.000001", "0.000001")], 1
        )
    )
    exact = Decimal("999999999999998000.000000000002")
    unpriced = an_order(org, "PO-2")
    unpriced.lines.update(unit_price=None)
    foreign = an_order(org, "PO-3", lines=2)
    foreign.lines.filter(line_no=1).update(currency="USD")
    an_order(org, "PO-4", lines=2).lines.update(currency="EUR")
    an_order(org, "PO-5", lines=0)
    page = logged_in(oskar).get(ORDERS)
    totals = {str(o): o.total for o in page.context["cl"].result_list}
    assert totals == {
        "PO-1": exact, "PO-2": None, "PO-3": None, "PO-4": Decimal("6.75"), "PO-5": None
    }  # fmt: skip
    assert "6.75 EUR" in text(page)
    assert "999,999,999,999,998,000.000000000002 EUR" in text(page)


def test_the_list_says_what_blocks_an_order(org: Org, oskar: User) -> None:
    order = an_order(org, "PO-1", lines=40, customer=Customer.objects.create(org=org, name="New"))
    order.lines.filter(line_no=33).update(uom="")
    order.lines.filter(line_no=34).update(internal_sku="")
    page = text(logged_in(oskar).get(ORDERS))
    assert (
        "Customer New has no ERP customer number. Line 33: the unit of measure is missing. …"
        in page
    )


def test_the_list_leads_to_the_latest_export(org: Org, mounted: ErpConnection, oskar: User) -> None:
    (export,) = some_exports(org, oskar)
    fail(export)
    ErpExport.objects.update(created_at=timezone.now() - timedelta(hours=1))
    again = retry_order(export.draft_order_id, actor=oskar)
    untouched = an_order(org, "PO-untouched")
    client = logged_in(oskar)
    page = text(client.get(ORDERS))
    assert reverse("admin:exports_erpexport_change", args=[again.pk]) in page
    assert reverse("admin:exports_erpexport_change", args=[export.pk]) not in page
    page = text(client.get(ORDERS, {"failed_export": "yes"}))
    assert str(export.draft_order) in page
    assert str(untouched) not in page


def test_lists_take_as_many_queries_for_many(org: Org, mounted: ErpConnection, oskar: User) -> None:
    client = logged_in(oskar)

    def queries(url: str) -> int:
        with CaptureQueriesContext(database) as captured:
            assert client.get(url).status_code == 200
        return len(captured)

    def one_more(n: int) -> None:
        first, second = some_exports(org, oskar, 2, first=2 * n)
        fail(first)
        doubt(second)
        an_order(org, f"PO-lacking-{n}", customer=None)

    one_more(0)
    urls = (ORDERS, EXPORTS, FAILURES)
    before = [queries(url) for url in urls]
    for n in range(1, 5):
        one_more(n)
    assert [queries(url) for url in urls] == before


def test_the_preview_is_what_the_export_will_be(
    org: Org, mounted: ErpConnection, oskar: User
) -> None:
    order = an_approved_order(org, oskar, "PO-<b>")
    client = logged_in(oskar)
    url = reverse("admin:orders_draftorder_preview", args=[order.pk])
    assert url in text(client.get(reverse("admin:orders_draftorder_change", args=[order.pk])))
    page = text(client.get(url))
    assert "&quot;PO-&lt;b&gt;&quot;" in page
    assert '<span class="json-number">1.5</span>' in page
    DraftOrder.objects.filter(pk=order.pk).update(status="READY")
    assert "only approved orders have a document" in text(client.get(url, follow=True))
