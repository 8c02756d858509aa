"""Rows that are read by key are all rows of the list, in its order, whatever that is."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import QuerySet
from django.test import RequestFactory

from accounts.models import User
from kernel.keyset import read_by_key
from orders.models import Customer, DraftOrder
from tests.support.admin_pages import a_full_house
from tests.support.builders import an_order, an_org

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


@pytest.fixture
def full_house(tmp_path: Path, settings: Any) -> User:
    settings.DROPZONE_ROOTS = [str(tmp_path)]
    return a_full_house(tmp_path)


def listed(full_house: User, model_admin: Any, **query: str) -> QuerySet[Any]:
    request = RequestFactory().get("/", query)
    request.user = full_house
    return model_admin.get_changelist_instance(request).queryset


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


def test_every_file_has_the_rows_of_its_list_in_every_order(full_house: User) -> None:
    admins = [a for a in admin.site._registry.values() if getattr(a, "csv_columns", None)]
    assert len(admins) >= 4
    for model_admin in admins:
        columns = range(1, len(model_admin.list_display) + 1)
        pairs = [f"{one}.-{other}" for one, other in pairwise(columns)]
        for order in ("", *(f"{sign}{n}" for n in columns for sign in ("", "-")), *pairs):
            rows = listed(full_house, model_admin, o=order)
            assert len(rows) > 2
            assert keys(read_by_key(rows, size=3)) == keys(rows), (model_admin, order)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_rows_without_a_value_and_with_the_same_value_are_not_lost(sign: str, size: int) -> None:
    org = an_org()
    for key, name in enumerate(("Anton", "Berta", "Berta")):
        customer = Customer.objects.create(org=org, name=name, erp_customer_number=str(key))
        for number in range(2):
            an_order(org, f"PO-{number}", customer=customer)
    for _ in range(3):
        an_order(org, "PO-1", customer=None)
    for order in ("customer", "customer__name", "customer_id", "approved_by", "approved_at"):
        rows = DraftOrder.objects.order_by(f"{sign}{order}", "external_order_number", "-pk")
        assert keys(read_by_key(rows, size=size)) == keys(rows)


def test_a_row_that_is_made_meanwhile_moves_no_other() -> None:
    acme = an_org()
    for number in range(6):
        an_order(acme, f"PO-{number}")
    rows = DraftOrder.objects.order_by("external_order_number", "-pk")
    before = keys(rows)
    reading = read_by_key(rows, size=2)
    seen = [next(reading).pk]
    an_order(acme, "PO")
    assert [*seen, *keys(reading)] == before
