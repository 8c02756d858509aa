"""A page approves what it showed: other content is shown again, and not approved."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.conf import settings as configured
from django.test import Client

from accounts.models import Org, User
from backoffice.orders import decisions, previews, shown
from connectors.models import ErpConnection
from exports.models import Batch, BatchItem
from exports.pushing import batch_runs, batches
from orders.content import content_hash, content_of
from orders.models import Customer, DraftOrder, SourceDocument
from tests.support.admins import (
    a_member,
    decide_url,
    logged_in,
    messages,
    page_url,
    submitted,
    text,
)
from tests.support.builders import an_approved_order, an_order
from tests.support.order_forms import order_data

pytestmark = pytest.mark.django_db

Status = DraftOrder.Status
Change = Callable[[Client, DraftOrder], None]
LIST = page_url("orders_draftorder_changelist")


@pytest.fixture
def document(org: Org) -> SourceDocument:
    return SourceDocument.objects.create(org=org, file_name="order.pdf", sha256="a" * 64)


@pytest.fixture
def order(org: Org, document: SourceDocument) -> DraftOrder:
    return an_order(org, lines=2, source_document=document)


@pytest.fixture
def approving(approver: User) -> Client:
    return logged_in(approver)


@pytest.fixture
def editing(org: Org) -> Client:
    """Another person, who changes the order meanwhile."""
    return logged_in(a_member(org, "eve", "Approver"))


def edit(client: Client, order: DraftOrder, **changes: str) -> None:
    data = order_data(order, source_document=str(order.source_document_id), **changes)
    assert client.post(page_url("orders_draftorder_change", order.id), data).status_code == 302


def edit_customer(client: Client, order: DraftOrder) -> None:
    assert order.customer
    data = {"name": "Other AG", "erp_customer_number": order.customer.erp_customer_number}
    assert client.post(page_url("orders_customer_change", order.customer_id), data).status_code
    order.customer.refresh_from_db()


def replace_customer(client: Client, order: DraftOrder) -> None:
    other = Customer.objects.create(org=order.org, name="Other AG", erp_customer_number="9")
    edit(client, order, customer=str(other.id))


def replace_document(client: Client, order: DraftOrder) -> None:
    other = SourceDocument.objects.create(org=order.org, file_name="other.pdf", sha256="b" * 64)
    data = order_data(order, source_document=str(other.id))
    assert client.post(page_url("orders_draftorder_change", order.id), data).status_code == 302


def change_document(client: Client, order: DraftOrder) -> None:
    SourceDocument.objects.filter(id=order.source_document_id).update(sha256="b" * 64)


def editor(**changes: str) -> Change:
    return lambda client, order: edit(client, order, **changes)


# What is changed, and what the page then says of it: where, what, before, now.
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "header": (editor(currency="USD"), ["Order", "currency", "EUR", "USD"]),
    "number": (editor(external_order_number="PO-2"), ["Order", "order number", "PO-1", "PO-2"]),
    "notes": (editor(notes="Ring twice"), ["Order", "notes", "-", "Ring twice"]),
    "quantity": (
        editor(**{"lines-0-qty": "99999"}),
        ["Line 1", "quantity", "1.5", "99999"],
    ),
    "SKU": (
        editor(**{"lines-1-internal_sku": "OTHER"}),
        ["Line 2", "internal SKU", "INT-2", "OTHER"],
    ),
    "added line": (
        editor(
            **{
                "lines-2-line_no": "3",
                "lines-2-internal_sku": "NEW",
                "lines-2-qty": "7",
                "lines-2-uom": "PCE",
            }
        ),
        ["Line 3", "added", "-", "internal SKU NEW, quantity 7, unit of measure PCE"],
    ),
    "removed line": (
        editor(**{"lines-1-DELETE": "on"}),
        [
            "Line 2",
            "removed",
            "internal SKU INT-2, quantity 1.5, unit of measure M, unit price 2.25",
            "-",
        ],
    ),
    "customer": (edit_customer, ["Order", "customer", "Muster GmbH", "Other AG"]),
    "other customer": (replace_customer, ["Order", "ERP customer number", "4711", "9"]),
    "document": (
        change_document,
        ["Order", "SHA-256 of the source document", "a" * 64, "b" * 64],
    ),
    "other document": (replace_document, ["Order", "source document", "order.pdf", "other.pdf"]),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> tuple[Change, list[str]]:
    return CHANGES[request.param]


def open_page(client: Client, order: DraftOrder) -> Any:
    return client.get(decide_url("approve"), {"order": str(order.id)})


def select(client: Client, *orders: DraftOrder) -> Any:
    keys = [str(order.id) for order in orders]
    return client.post(LIST, {"action": "approve_orders", "_selected_action": keys})


def select_by_filter(client: Client, query: str = "?status__exact=READY") -> Any:
    (first, *_) = DraftOrder.objects.all()
    data = {"action": "approve_orders", "_selected_action": [str(first.pk)], "select_across": "1"}
    return client.post(f"{LIST}{query}", data)


def approve(client: Client, page: Any, **entered: str) -> Any:
    return client.post(decide_url("approve"), submitted(page, **entered))


def rows(page: Any) -> Iterator[list[str]]:
    """What the page says that has changed."""
    for change in page.context["changes"]:
        for one in change["differences"]:
            assert f"<td>{one.what}</td>" in text(page)
            yield [one.where, one.what, one.before or "-", one.after or "-"]


def status(order: DraftOrder) -> str:
    order.refresh_from_db()
    return order.status


def test_the_page_shows_what_it_approves(approving: Client, order: DraftOrder) -> None:
    page = open_page(approving, order)
    for value in ("Muster GmbH", "order.pdf", "INT-1", "INT-2", "1.5", "2.25", "EUR"):
        assert f"<td>{value}</td>" in text(page) or f"<dd>{value}</dd>" in text(page)
    assert approve(approving, page).status_code == 302
    assert status(order) == Status.APPROVED
    assert order.approved_hash == content_hash(order)


def test_an_order_that_changed_is_shown_again(
    approving: Client, editing: Client, order: DraftOrder, change: tuple[Change, list[str]]
) -> None:
    page = open_page(approving, order)
    make, row = change
    make(editing, order)
    again = approve(approving, page)
    assert (again.status_code, status(order)) == (200, Status.READY)
    assert "1 order changed while the page was open" in text(again)
    assert "It was not approved" in text(again)
    assert row in list(rows(again))
    assert approve(approving, page).status_code == 200, "the old page approves nothing, ever"
    assert status(order) == Status.READY

    done = approving.post(decide_url("approve"), submitted(again), follow=True)
    assert messages(done) == [f"Order {order} was approved."]
    assert status(order) == Status.APPROVED
    assert order.approved_hash == content_hash(order)


def test_of_a_selection_only_what_changed_is_shown_again(
    approving: Client,
    editing: Client,
    org: Org,
    order: DraftOrder,
    change: tuple[Change, list[str]],
) -> None:
    buyer = Customer.objects.create(org=org, name="Buyer", erp_customer_number="1")
    same = an_order(org, "PO-same", customer=buyer)
    page = select(approving, order, same)
    make, row = change
    make(editing, order)
    again = approve(approving, page)
    assert (again.status_code, status(order), status(same)) == (200, "READY", "APPROVED")
    assert f"Order {order} was skipped." in text(again)
    assert "Order PO-same was approved." in text(again)
    assert row in list(rows(again))
    assert submitted(again)["orders"] == [f"{order.id}.{content_hash(fresh(order))}"]
    assert approve(approving, again).status_code == 302
    assert status(order) == Status.APPROVED


def test_a_batch_by_filter_approves_what_its_page_froze(
    approving: Client,
    editing: Client,
    org: Org,
    order: DraftOrder,
    change: tuple[Change, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decisions, "MAX_AT_ONCE", 1)
    buyer = Customer.objects.create(org=org, name="Buyer", erp_customer_number="1")
    same = an_order(org, "PO-same", customer=buyer)
    page = select_by_filter(approving)
    assert "2 orders can be approved" in text(page)
    make, _ = change
    make(editing, order)
    response = approve(approving, page)
    batch = Batch.objects.get()
    assert response["Location"] == page_url("exports_batch_change", batch.id)
    batch_runs.run(batch.id)
    assert (status(order), status(same)) == ("READY", "APPROVED")
    item = batch.items.get(draft_order=order)
    assert (item.outcome, item.code) == (BatchItem.Outcome.REFUSED, "CHANGED_SINCE_SHOWN")
    assert f"Order {order}, its customer or its document has changed" in item.message

    # The page of the batch says so and leads to the page on which it can be looked at.
    told = text(approving.get(response["Location"]))
    query = {"batch": str(batch.pk), "outcome": "REFUSED", "code": "CHANGED_SINCE_SHOWN"}
    assert f"{decide_url('approve')}?{urlencode(query)}".replace("&", "&amp;") in told
    again = approving.get(decide_url("approve"), query)
    assert again.context["content"]["header"] == {
        name: value for name, value in shown.header_of(content_of(fresh(order))).items() if value
    }
    assert approve(approving, again).status_code == 302
    assert status(order) == Status.APPROVED


def test_a_change_between_the_form_and_the_worker_is_noticed(
    approving: Client,
    editing: Client,
    org: Org,
    order: DraftOrder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decisions, "MAX_AT_ONCE", 1)
    an_order(org, "PO-same")
    approve(approving, select_by_filter(approving))
    edit(editing, order, notes="late")
    batch_runs.run(Batch.objects.get().id)
    assert status(order) == Status.READY


def test_a_page_about_an_old_approval_is_not_one_about_the_order_of_now(
    approving: Client, editing: Client, order: DraftOrder, approver: User
) -> None:
    """An approved order whose customer has changed is approved again, as the page shows it."""
    approve(approving, open_page(approving, order))
    edit_customer(editing, order)
    page = open_page(approving, order)
    assert "Other AG" in text(page)
    Customer.objects.filter(id=order.customer_id).update(erp_customer_number="666")
    again = approve(approving, page)
    assert ["Order", "ERP customer number", "4711", "666"] in list(rows(again))
    assert fresh(order).approved_hash != content_hash(fresh(order))
    assert approve(approving, again).status_code == 302
    assert fresh(order).approved_hash == content_hash(fresh(order))


def test_what_was_approved_from_an_old_page_is_not_pushed(
    approving: Client, editing: Client, order: DraftOrder, connection: ErpConnection
) -> None:
    page = open_page(approving, order)
    edit(editing, order, **{"lines-0-qty": "99999"})
    assert approve(approving, page).status_code == 200
    push = {"orders": str(order.id)}
    said = messages(approving.post(decide_url("push"), push, follow=True))
    assert "only approved orders are pushed" in said[0]
    approve(approving, open_page(approving, order))
    page = approving.get(decide_url("push"), {"order": str(order.id)})
    edit_customer(editing, order)
    said = messages(approving.post(decide_url("push"), submitted(page), follow=True))
    assert "has changed since it was approved" in said[0]
    assert not order.exports.exists()


def test_a_warning_that_was_not_shown_is_not_confirmed(
    approving: Client, org: Org, order: DraftOrder
) -> None:
    first, second = (an_order(org, "PO-twin") for _ in range(2))
    page = select(approving, order, first, second)
    assert "2 orders will be approved only if you confirm" in text(page)
    an_order(org, "PO-1", customer=order.customer)
    done = approving.post(decide_url("approve"), submitted(page, confirm_warnings="yes"))
    assert done.status_code == 302
    assert (status(first), status(second), status(order)) == ("APPROVED", "APPROVED", "READY")


def test_a_changed_order_that_is_no_longer_ready_says_so(
    approving: Client, editing: Client, order: DraftOrder
) -> None:
    page = open_page(approving, order)
    edit(editing, order, **{"lines-0-uom": ""})
    again = approve(approving, page)
    assert ["Line 1", "unit of measure", "M", "-"] in list(rows(again))
    assert "Line 1: the unit of measure is missing." in text(again)
    assert 'type="submit" class="default"' not in text(again)
    assert approve(approving, again).status_code == 302
    assert status(order) == Status.NEEDS_REVIEW


# What is sent back is not what the page showed.
HASH = "f" * 64
TAMPERED: dict[str, Callable[[dict[str, Any], DraftOrder], dict[str, Any]]] = {
    "no hash": lambda form, order: form | {"orders": str(order.id)},
    "no hash but its dot": lambda form, order: form | {"orders": f"{order.id}."},
    "another hash": lambda form, order: form | {"orders": f"{order.id}.{HASH}"},
    "the hash in capitals": lambda form, order: form | {"orders": form["orders"][0].upper()},
    "a long hash": lambda form, order: form | {"orders": f"{form['orders'][0]}0"},
    "no text": lambda form, order: form | {"orders": f"{order.id}.\x00\ufffd"},
    "two hashes": lambda form, order: form | {"orders": f"{form['orders'][0]} {order.id}.{HASH}"},
    "the content of another order": lambda form, order: (
        form
        | {"orders": f"{order.id}.{HASH}", "carried": shown.carry({uuid4(): content_of(order)})}
    ),
    "content of their own": lambda form, order: (
        form | {"orders": f"{order.id}.{HASH}", "carried": ["x", "", "\x00", ":::", "[]:a:b"]}
    ),
    "a changed signature": lambda form, order: (
        form | {"orders": f"{order.id}.{HASH}", "carried": [f"{form['carried'][0]}x"]}
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("at_once", [50, 0])
def test_a_tampered_form_approves_nothing(
    approving: Client,
    order: DraftOrder,
    how: str,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form = submitted(open_page(approving, order))
    monkeypatch.setattr(decisions, "MAX_AT_ONCE", at_once)
    again = approving.post(decide_url("approve"), TAMPERED[how](form, order))
    for batch in Batch.objects.all():
        batch_runs.run(batch.id)
        assert batch.items.get().code == "CHANGED_SINCE_SHOWN"
    assert status(order) == Status.READY
    assert again.status_code == (200 if at_once else 302)
    if at_once:
        assert approve(approving, again).status_code == 302
        assert status(order) == Status.APPROVED


def test_the_hash_of_one_order_approves_no_other(
    approving: Client, org: Org, order: DraftOrder
) -> None:
    other = an_order(org, "PO-other")
    swapped = f"{order.id}.{content_hash(other)} {other.id}.{content_hash(order)}"
    assert approving.post(decide_url("approve"), {"orders": swapped}).status_code == 200
    assert (status(order), status(other)) == (Status.READY, Status.READY)


# A page is bounded, however much the orders contain.
def test_of_a_large_order_the_page_says_that_its_lines_changed(
    approving: Client, editing: Client, order: DraftOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = len(shown.carry({order.id: [*content_of(fresh(order))[:-1], []]})[0])
    monkeypatch.setattr(shown, "MAX_CARRIED_CHARS", fits + 120)
    order.lines.update(description="".join(str(uuid4()) for _ in range(20)))
    page = open_page(approving, order)
    assert len("".join(submitted(page)["carried"])) <= fits + 120
    edit(editing, order, notes="x", **{"lines-0-qty": "99999"})
    again = approve(approving, page)
    assert list(rows(again)) == [
        ["Order", "notes", "-", "x"],
        ["Lines", "content", "2 lines", "2 lines, some changed"],
    ]


def test_all_that_a_page_carries_is_bounded(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {order.id: content_of(order) for order in (an_order(org, n) for n in "ABCD")}
    whole = shown.carry(contents)
    assert shown.read_carried(whole) == contents
    monkeypatch.setattr(shown, "MAX_CARRIED_CHARS", sum(map(len, whole[:2])) + 20)
    assert shown.carry(contents) == whole[:2]


def test_a_page_that_carries_nothing_still_approves_only_what_it_showed(
    approving: Client, editing: Client, order: DraftOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "MAX_CARRIED_CHARS", 0)
    page = open_page(approving, order)
    edit(editing, order, notes="x")
    again = approve(approving, page)
    assert "The earlier content is not known" in text(again)
    assert status(order) == Status.READY
    assert approve(approving, again).status_code == 302


def test_the_page_of_an_order_with_many_lines_is_bounded(
    approving: Client, editing: Client, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "_LINES_SHOWN", 3)
    monkeypatch.setattr(previews, "_DIFFERENCES_SHOWN", 2)
    order = an_order(org, lines=5)
    page = open_page(approving, order)
    assert "The first 3 of 5 lines." in text(page)
    assert "INT-4" not in text(page)
    order.lines.update(uom="KG")
    again = approve(approving, page)
    assert len(list(rows(again))) == 2
    assert "and 3 more changes" in text(again)


def test_the_largest_forms_are_not_refused_for_their_size() -> None:
    hashes = {uuid4(): HASH for _ in range(batches.MAX_BATCH_ORDERS)}
    form = urlencode({"orders": shown.join_hashes(hashes)})
    limit = configured.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert len(form) + shown.MAX_CARRIED_CHARS < limit
    assert shown.split_hashes(shown.join_hashes(hashes)) == hashes


def test_a_page_for_a_push_compares_with_the_approval_only(
    approving: Client, org: Org, approver: User, connection: ErpConnection
) -> None:
    order = an_approved_order(org, approver)
    page = approving.get(decide_url("push"), {"order": str(order.id)})
    assert submitted(page)["orders"] == [str(order.id)]
    assert "carried" not in submitted(page)


def fresh(order: DraftOrder) -> DraftOrder:
    return DraftOrder.objects.get(id=order.id)
