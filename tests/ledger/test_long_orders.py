"""Orders with many lines in the form of the admin."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import Org, User
from backoffice.orders import admin, editing
from kernel.limits import MAX_FORM_LINES
from orders.models import DraftOrder
from tests.support.admins import logged_in, page_url, text
from tests.support.builders import an_approved_order, an_order
from tests.support.order_forms import order_data

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
FEW = 3


class Form(HTMLParser):
    """The fields of an order's form, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.boxes: set[str] = set()
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        match tag:
            case "input" if name and given.get("type") == "checkbox":
                self.boxes.add(name)
            case "input" if name and given.get("type") != "submit":
                self.fields[name] = given.get("value", "")
            case "select" | "textarea":
                self._open, self.fields[name] = name, ""
            case "option" if "selected" in given:
                self.fields[self._open] = given["value"]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "textarea" and self._open:
            self.fields[self._open] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("select", "textarea"):
            self._open = ""


def save(client: Client, order: DraftOrder, fields: dict[str, str]) -> Any:
    url = page_url("orders_draftorder_change", order.id)
    return client.post(url, urlencode(fields), content_type=FORM)


def test_an_order_of_a_thousand_lines_is_saved_in_the_form(org: Org, approver: User) -> None:
    order = an_approved_order(org, approver, lines=MAX_FORM_LINES, notes="Ring twice")
    client = logged_in(approver)
    form = Form(text(client.get(page_url("orders_draftorder_change", order.id))))
    assert form.fields["lines-TOTAL_FORMS"] == str(MAX_FORM_LINES)
    # One line more is told in the form, with all lines to be deleted too.
    of_a_line = [name for name in form.fields if name.startswith("lines-7-")]
    sent = len(form.fields) + len(form.boxes) + len(of_a_line) + 1
    assert sent < settings.DATA_UPLOAD_MAX_NUMBER_FIELDS < 1.1 * sent

    response = save(client, order, form.fields | {"lines-500-qty": "77"})
    assert response.status_code == 302, text(response)
    assert order.lines.count() == MAX_FORM_LINES
    assert order.lines.get(line_no=501).qty == 77
    assert order.lines.exclude(line_no=501).filter(qty="1.5", uom="M").count() == 999
    order.refresh_from_db()
    assert (order.status, order.notes) == (DraftOrder.Status.READY, "Ring twice")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the form take few lines, so that more of them are quickly there."""
    monkeypatch.setattr(editing.LineInline, "max_num", FEW)
    for module in (admin, editing):
        monkeypatch.setattr(module, "MAX_FORM_LINES", FEW)


@pytest.mark.usefixtures("few")
def test_a_longer_order_is_shown_and_says_who_changes_it(org: Org, approver: User) -> None:
    client = logged_in(approver)
    for lines, is_edited in ((FEW, True), (FEW + 1, False)):
        order = an_order(org, f"PO-{lines}", lines=lines)
        page = text(client.get(page_url("orders_draftorder_change", order.id)))
        assert ("Change this order through the API" in page) != is_edited
        assert ('name="_save"' in page) == is_edited
        assert ("lines-0-qty" in Form(page).fields) == is_edited
        assert f"INT-{lines}" in page


@pytest.mark.usefixtures("few")
def test_a_line_too_many_is_told_and_nothing_is_saved(org: Org, approver: User) -> None:
    order = an_order(org, lines=FEW)
    line = {f"lines-{FEW}-line_no": "9", f"lines-{FEW}-internal_sku": "S", f"lines-{FEW}-qty": "1"}
    response = save(logged_in(approver), order, order_data(order, notes="new") | line)
    assert response.status_code == 200
    assert "This form can save up to 1,000 lines. Nothing was saved." in text(response)
    order.refresh_from_db()
    assert (order.lines.count(), order.notes) == (FEW, "")


def test_more_fields_than_a_form_has_are_refused_on_a_page(org: Org, approver: User) -> None:
    order = an_order(org)
    fields = {f"lines-{n}-qty": "1" for n in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS)}
    response = save(logged_in(approver), order, order_data(order, notes="new") | fields)
    assert response.status_code == 400
    assert "change long orders through the API" in text(response)
    order.refresh_from_db()
    assert order.notes == ""


def test_many_selected_rows_are_acted_upon(org: Org, approver: User) -> None:
    order = an_order(org)
    others = [f"00000000-0000-4000-8000-{n:012}" for n in range(10_000)]
    data = {"action": "approve_orders", "_selected_action": [str(order.id), *others]}
    response = logged_in(approver).post(
        page_url("orders_draftorder_changelist"), urlencode(data, doseq=True), content_type=FORM
    )
    assert "1 order will be approved" in text(response)
