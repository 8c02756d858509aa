"""Many orders in the admin: what is said beforehand, how it goes on, and what can follow."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Membership, Org, User
from backoffice.orders.decisions import MAX_AT_ONCE
from exports.delivery import heartbeat
from exports.models import Batch, BatchItem
from exports.pushing import batch_runs, batches
from orders.models import DraftOrder
from tests.support.admins import decide_url, logged_in, messages, submitted, text
from tests.support.builders import a_connection, an_approved_order, an_order, an_org

pytestmark = pytest.mark.django_db

LIST = "/admin/orders/draftorder/"
MANY = MAX_AT_ONCE + 1


def choose_all(client: Client, action: str, query: str = "") -> Any:
    """The action for all orders of the list, those of other pages too."""
    (first, *_) = DraftOrder.objects.all()
    data = {"action": f"{action}_orders", "_selected_action": [str(first.pk)], "select_across": "1"}
    return client.post(f"{LIST}{query}", data)


def page_of(batch: Batch) -> str:
    return reverse("admin:exports_batch_change", args=[batch.pk])


def started(client: Client, action: str) -> Batch:
    """A batch of all orders, as the admin starts one."""
    response = client.post(decide_url(action), submitted(choose_all(client, action)))
    batch = Batch.objects.latest("created_at")
    assert response["Location"] == page_of(batch)
    return batch


def test_a_few_orders_are_decided_about_at_once(org: Org, approver: User) -> None:
    for n in range(MAX_AT_ONCE):
        an_order(org, f"PO-{n}")
    client = logged_in(approver)
    page = choose_all(client, "approve")
    assert f"{MAX_AT_ONCE} orders will be approved" in text(page)
    said = messages(client.post(decide_url("approve"), submitted(page), follow=True))
    assert said == [f"{MAX_AT_ONCE} orders were approved."]
    assert not Batch.objects.exists()


def test_many_orders_are_a_batch_after_a_confirmation(org: Org, approver: User) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    rejected = an_order(org, "PO-no")
    DraftOrder.objects.filter(id=rejected.id).update(status="REJECTED")
    client = logged_in(approver)
    page = choose_all(client, "approve")
    assert f"{MANY} orders can be approved" in text(page)
    assert "1 order will be skipped" in text(page)
    assert "1 rejected" in text(page)
    assert not Batch.objects.exists()

    response = client.post(decide_url("approve"), submitted(page))
    batch = Batch.objects.get()
    assert response["Location"] == page_of(batch)
    assert (batch.org, batch.action, batch.requested_by) == (org, "approve", approver)
    assert batch.items.count() == MANY + 1
    batch_runs.run(batch.id)
    assert DraftOrder.objects.filter(status="APPROVED").count() == MANY
    page = client.get(page_of(batch))
    assert "finished" in text(page)
    assert "NOT_READY" in text(page)


def test_a_push_of_many_says_where_to_and_that_it_waits(
    org: Org, approver: User, dropzone_root: Path
) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root)}
    a_connection(org, config, paused=True)
    for n in range(MANY):
        an_approved_order(org, approver, f"PO-{n}")
    page = text(choose_all(logged_in(approver), "push"))
    assert "This connection is paused" in page
    assert f"Push {MANY} orders" in page


def test_orders_of_several_orgs_become_a_batch_each(org: Org, approver: User) -> None:
    other = an_org("umbrella")
    Membership.objects.create(user=approver, org=other)
    for n in range(MANY):
        an_order((org, other)[n % 2], f"PO-{n}")
    client = logged_in(approver)
    page = client.post(decide_url("approve"), submitted(choose_all(client, "approve")), follow=True)
    assert messages(page) == ["2 batches were started, one for each organisation."]
    assert {batch.org for batch in Batch.objects.all()} == {org, other}
    assert BatchItem.objects.count() == MANY


def test_more_than_a_batch_takes_is_refused_beforehand(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backoffice.orders.decisions.MAX_BATCH_ORDERS", 2)
    for n in range(3):
        an_order(org, f"PO-{n}")
    client = logged_in(approver)
    response = choose_all(client, "approve")
    assert response.status_code == 302
    (said,) = messages(client.get(response["Location"]))
    assert said.startswith("You can choose up to 2 orders at a time.")
    ids = " ".join(str(key) for key in DraftOrder.objects.values_list("id", flat=True))
    (said,) = messages(client.post(decide_url("approve"), {"orders": ids}, follow=True))
    assert said.startswith("You can choose up to 2 orders")
    assert not DraftOrder.objects.filter(status="APPROVED").exists()


def test_the_filters_of_the_list_bound_what_is_selected(org: Org, approver: User) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    an_order(org, "PO-lacking", customer=None)
    page = choose_all(logged_in(approver), "approve", "?status__exact=READY")
    assert len(submitted(page)["orders"][0].split()) == MANY
    assert submitted(page)["back"] == [f"{LIST}?status__exact=READY"]


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"]
)
def test_nobody_is_led_away(org: Org, approver: User, back: str) -> None:
    order = an_order(org)
    data = {"orders": str(order.id), "back": back}
    assert logged_in(approver).post(decide_url("reject"), data)["Location"] == LIST


def test_the_page_follows_a_batch_with_and_without_script(org: Org, approver: User) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    client = logged_in(approver)
    batch = started(client, "approve")
    page = text(client.get(page_of(batch)))
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "follow.js" in page
    assert "No worker is running" in page
    heartbeat.register()
    assert "No worker is running" not in text(client.get(page_of(batch)))

    batch.items.filter(id__in=batch.items.values("id")[:20]).update(
        outcome="DONE", finished_at=batch.created_at
    )
    Batch.objects.update(started_at=batch.created_at)
    page = text(client.get(page_of(batch)))
    assert f'<progress max="{MANY}" value="20"' in page
    assert "per second" in page
    assert "about" in page
    batch_runs.run(batch.id)
    page = text(client.get(page_of(batch)))
    assert f'value="{MANY}"' in page
    assert "http-equiv" not in page
    assert "follow.js" not in page


def test_a_batch_is_stopped_after_a_confirmation(org: Org, approver: User, vera: User) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    client = logged_in(approver)
    batch = started(client, "approve")
    url = reverse("admin:exports_batch_cancel", args=[batch.pk])
    assert f"{MANY} waiting orders stay as they are" in text(client.get(url))
    assert logged_in(vera).post(url).status_code == 403
    assert url not in text(logged_in(vera).get(page_of(batch)))
    batch.refresh_from_db()
    assert batch.finished_at is None
    page = client.post(url, follow=True)
    assert messages(page) == ["The batch was stopped."]
    assert "stopped by ann" in text(page)
    assert f"0 of {MANY}</progress>" in text(page), "nothing was decided"
    assert messages(client.post(url, follow=True)) == ["The batch is finished."]
    assert not DraftOrder.objects.filter(status="APPROVED").exists()


def test_what_was_left_or_refused_can_be_decided_again(org: Org, approver: User) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    twins = [an_order(org, "PO-twin") for _ in range(2)]
    client = logged_in(approver)
    batch = started(client, "approve")
    batch_runs.run(batch.id)
    page = text(client.get(page_of(batch)))
    query = f"?batch={batch.pk}&amp;outcome=REFUSED&amp;code=NEEDS_CONFIRMATION"
    assert decide_url("approve") + query in page
    assert decide_url("push") + f"?batch={batch.pk}&amp;outcome=DONE" in page
    again = client.get(decide_url("approve") + query.replace("&amp;", "&"))
    assert "2 orders will be approved only if you confirm" in text(again)
    client.post(decide_url("approve"), submitted(again, confirm_warnings="yes"))
    assert {DraftOrder.objects.get(id=twin.id).status for twin in twins} == {"APPROVED"}


def test_the_orders_of_a_batch_are_listed_by_what_became_of_them(
    org: Org, approver: User, vera: User
) -> None:
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    lacking = an_order(org, "PO-lacking", customer=None)
    client = logged_in(approver)
    batch = started(client, "approve")
    batch_runs.run(batch.id)
    (url,) = re.findall(
        r'href="(/admin/exports/batchitem/[^"]*NOT_READY)"', text(client.get(page_of(batch)))
    )
    listed = text(logged_in(vera).get(url.replace("&amp;", "&")))
    assert "1 batch item" in listed
    assert str(lacking) in listed
    assert "The order has no customer." in listed


def test_batches_of_other_orgs_are_not_there(org: Org, approver: User) -> None:
    other = an_org("umbrella")
    order = an_order(other)
    boss = User.objects.create_superuser("root")
    batch = batches.create_batch(
        other, action="approve", orders=DraftOrder.objects.filter(id=order.id), actor=boss
    )
    client = logged_in(approver)
    assert str(batch) not in text(client.get("/admin/exports/batch/"))
    assert client.get(page_of(batch)).status_code == 302
    assert client.post(reverse("admin:exports_batch_cancel", args=[batch.pk])).status_code == 404
    assert str(order) not in text(client.get("/admin/exports/batchitem/"))
    group = {"batch": str(batch.pk), "outcome": "WAITING", "code": ""}
    assert client.get(decide_url("approve"), group).status_code == 404
    assert str(batch) in text(logged_in(boss).get("/admin/exports/batch/"))


def test_the_list_of_batches_takes_as_many_queries_for_many(org: Org, approver: User) -> None:
    client = logged_in(approver)
    an_order(org)

    def queries() -> int:
        batches.create_batch(org, action="approve", orders=DraftOrder.objects.all(), actor=approver)
        with CaptureQueriesContext(database) as captured:
            assert client.get("/admin/exports/batch/").status_code == 200
        return len(captured)

    first = queries()
    assert [queries() for _ in range(5)] == [first] * 5


@pytest.mark.parametrize("page", ["/admin/exports/batch/", "/admin/exports/batchitem/"])
def test_batches_are_looked_at_not_edited(org: Org, approver: User, page: str) -> None:
    User.objects.filter(pk=approver.pk).update(is_superuser=True)
    client = logged_in(approver)
    assert client.get(f"{page}add/").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_followed_in_a_browser(page: Page, live_server: LiveServer) -> None:
    org = an_org()
    User.objects.create_superuser("ann", password="correct horse")
    for n in range(MANY):
        an_order(org, f"PO-{n}")
    page.goto(f"{live_server.url}{LIST}")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.locator("#action-toggle").check()
    page.get_by_role("button", name=f"Select all {MANY} orders").click()
    page.get_by_role("combobox", name="Action").select_option(label="Approve selected orders")
    page.get_by_role("button", name="Go").click()
    page.get_by_role("button", name=f"Approve {MANY} orders").click()
    expect(page.get_by_text("waiting", exact=True)).to_be_visible()
    batch_runs.run(Batch.objects.get().id)
    expect(page.get_by_text("finished", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
