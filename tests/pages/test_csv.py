"""CSV files: text stays text, rows are those of the list, and their number does not matter."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Org, User
from backoffice.csv_files import csv_file
from exports.models import ErpAck
from orders.models import Customer, DraftOrder, DraftOrderLine
from tests.support.admins import a_member, logged_in
from tests.support.builders import a_connection, an_order, an_org, some_exports

# What a database can hold.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
dangerous = st.builds(str.__add__, st.sampled_from("=+-@\t\r\n"), texts)


def read(pieces: Any) -> list[list[str]]:
    content = b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces).decode()
    assert content.startswith("\ufeff")
    return list(csv.reader(io.StringIO(content[1:], newline="")))


def table(client: Client, name: str, **query: str) -> list[dict[str, str]]:
    response = client.get(reverse(f"admin:{name}_csv"), query)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    header, *rows = read(response)
    return [dict(zip(header, row, strict=True)) for row in rows]


@given(st.lists(st.tuples(texts | dangerous, texts | dangerous), max_size=20))
def test_no_text_becomes_a_formula_and_none_is_lost(rows: list[tuple[str, str]]) -> None:
    shown = read(csv_file(rows))
    for row, cells in zip(rows, shown, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
            assert cell in (value, f"'{value}")


def test_numbers_and_times_are_exact() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    numbers = (Decimal("0.000001"), Decimal("-1.50"), Decimal(100), Decimal("1E+2"), 7)
    (cells,) = read(csv_file([(*numbers, at, None)]))
    assert cells == ["0.000001", "-1.5", "100", "100", "7", "2026-01-02T03:04:05+00:00", ""]


def test_a_file_comes_in_pieces() -> None:
    pieces = list(csv_file((n,) for n in range(1200)))
    assert len(pieces) == 3
    assert [int(number) for (number,) in read(pieces)] == list(range(1200))


def test_the_file_has_the_filters_and_the_scope_of_the_list(org: Org, vera: User) -> None:
    an_order(org, "=1+1")
    an_order(org, "PO-2", customer=None)
    an_order(an_org("umbrella"), "PO-3")
    client = logged_in(vera)
    orders = table(client, "orders_draftorder")
    assert {order["number"] for order in orders} == {"PO-2", "'=1+1"}
    ready = table(client, "orders_draftorder", status__exact="READY")
    assert [order["number"] for order in ready] == ["'=1+1"]
    assert ready[0]["total"] == "3.375"
    (found,) = table(client, "orders_draftorder", q="PO-2")
    assert found["number"] == "PO-2"


def test_exports_and_acks_are_given_out(org: Org, vera: User, dropzone_root: Any) -> None:
    erp = a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    (export,) = some_exports(org, vera)
    ErpAck.objects.create(
        org=org, erp_connection=erp, export=export, filename="ack_1.json", sha256="0", raw="{}",
        is_accepted=False, message="@SUM(1)", classification="APPLIED",
    )  # fmt: skip
    client = logged_in(vera)
    (row,) = table(client, "exports_erpexport")
    assert (row["order"], row["file name"], row["status"]) == ("PO-0", export.filename, "PENDING")
    (row,) = table(client, "exports_erpack")
    assert (row["order"], row["message"]) == ("PO-0", "'@SUM(1)")


def test_values_that_mean_nothing_lead_to_the_list(vera: User) -> None:
    response = logged_in(vera).get(reverse("admin:orders_draftorder_csv"), {"created_at__gte": "x"})
    assert response.status_code == 302
    assert response["Location"] == reverse("admin:orders_draftorder_changelist") + "?e=1"


def test_the_file_name_says_what_and_when(vera: User) -> None:
    response = logged_in(vera).get(reverse("admin:exports_erpexport_csv"))
    assert response["Content-Disposition"].startswith('attachment; filename="erp-exports-2')


def test_nobody_gets_a_file_without_permission(org: Org) -> None:
    nobody = a_member(org, "nina", "Viewer")
    nobody.groups.clear()
    response = logged_in(nobody).get(reverse("admin:orders_draftorder_csv"))
    assert response.status_code == 403


def test_thousands_of_rows_come_by_key_with_few_queries(org: Org, vera: User) -> None:
    client = logged_in(vera)
    customer = Customer.objects.create(org=org, name="Buyer", erp_customer_number="1")

    def queries_for(count: int) -> list[str]:
        orders = DraftOrder.objects.bulk_create(
            DraftOrder(org=org, customer=customer, external_order_number=f"PO-{n}", currency="EUR")
            for n in range(count)
        )
        DraftOrderLine.objects.bulk_create(
            DraftOrderLine(order=order, line_no=1, qty=2, unit_price=3) for order in orders
        )
        with CaptureQueriesContext(connection) as queries:
            rows = table(client, "orders_draftorder")
        assert {row["total"] for row in rows} == {"6"}
        assert len({row["id"] for row in rows}) == len(rows)
        totals.append(len(rows))
        return [query["sql"] for query in queries]

    totals: list[int] = []
    few, many = queries_for(10), queries_for(4500)
    assert totals == [10, 4510]
    # One more for each 2,000 rows, and no cursor that would stay open in between.
    assert len(many) == len(few) + 2
    assert not [sql for sql in many if "DECLARE" in sql or "OFFSET" in sql]
