"""Lists of the admin ask the database for what they offer and for nothing else."""

import re
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin import FieldListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.db import connection
from django.db.models import Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from accounts.models import Org, User
from backoffice.searching import MAX_CHARACTERS, MAX_WORDS
from connectors import circuit_breaker
from connectors.models import ErpConnection
from tests.support.admins import an_ack, text
from tests.support.builders import a_connection, some_exports

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
LOOKUPS = ("iregex", "icontains", "gt", "in", "isnull", "exact", "year__regex")
# A back-reference, for which PostgreSQL tries every way to divide a text, and no pattern at all.
PATTERNS = (r"(.*)(.*)(.*)(.*)\1\2\3\4x", "(")
VALUES = (
    "zzz",
    "",
    "9" * 3000,
    "0001-01-01 00:00+14:00",
    "9999-12-31 23:59-14:00",
    "a,b",
)
# Of the parameters that every list has.
PAGING = {
    "o": ("-1.-1.99.zzz", "9" * 3000),
    "p": ("zzz", "-1", "9" * 3000),
    "all": ("zzz",),
    "e": ("zzz",),
    "_facets": ("zzz",),
    "_popup": ("zzz",),
    "_to_field": ("zzz", "org__slug"),
}

pytestmark = pytest.mark.django_db


def urls(model: type[Model]) -> Iterator[str]:
    """The list of a model and its files."""
    for what in ("changelist", "csv"):
        try:
            yield reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}")
        except NoReverseMatch:
            assert what == "csv"


@pytest.fixture
def rows(sftp: ErpConnection, other_org: Org, vera: User) -> None:
    """Enough for every filter to have a choice and for most lists to have a row."""
    a_connection(other_org, {"mode": "filesystem", "export_path": settings.DROPZONE_ROOTS[0]})
    an_ack(sftp, "UNMATCHED")
    ErpConnection.objects.update(last_test_success=True)
    circuit_breaker.resume(sftp.pk)
    some_exports(sftp.org, vera)


def label(model: type[Model]) -> str:
    return model._meta.label


def status(client: Client, url: str, query: dict[str, Any]) -> int:
    """The status of an answer that is read to its end."""
    response = client.get(url, query)
    response.getvalue()
    return response.status_code


def test_there_are_lists_and_files() -> None:
    assert sum(len([*urls(model)]) for model in MODELS) > len(MODELS) > 10


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_a_list_does_not_filter_by_what_it_does_not_offer(root: Client, model: type[Model]) -> None:
    offered = admin.site.get_model_admin(model).filter_parameters(_request())
    fields = [field.name for field in model._meta.get_fields()]
    names = {
        *(f"{field}__regex" for field in fields),
        *(f"{fields[-1]}__{lookup}" for lookup in LOOKUPS),
        *(f"{fields[-1]}__id__{lookup}" for lookup in LOOKUPS),
        *("nonsense", "pk", "id", "org__name", "org__memberships__user__password__regex"),
    }
    root.get(reverse("admin:index"))
    for url in urls(model):
        for name, pattern in zip(sorted(names - offered), cycle(PATTERNS), strict=False):
            with CaptureQueriesContext(connection) as queries:
                response = root.get(url, {name: pattern})
            assert response.status_code == 400, name
            read = {table for query in queries for table in _tables(query["sql"])}
            assert read <= {"orderflow_user", "django_session"}, name
        assert "&lt;i&gt;" in text(root.get(url, {"<i>": "1"}))


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_a_filter_takes_the_parameters_that_it_says(model: type[Model]) -> None:
    request = _request()
    model_admin = admin.site.get_model_admin(model)
    taken = set(model_admin.linked_by)
    for entry in model_admin.get_list_filter(request):
        if isinstance(entry, type):
            own = entry(request, {}, model, model_admin)
        else:
            path, kind = (entry, FieldListFilter.create) if isinstance(entry, str) else entry
            field = get_fields_from_path(model, path)[-1]
            own = kind(field, request, {}, model, model_admin, field_path=path)
        taken |= set(own.expected_parameters())
    assert model_admin.filter_parameters(request) == taken


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_no_value_of_a_parameter_breaks_a_list(
    root: Client, rows: None, model: type[Model]
) -> None:
    filters = admin.site.get_model_admin(model).filter_parameters(_request())
    asked = {**dict.fromkeys(filters, VALUES), **PAGING}
    for url in urls(model):
        for name, values in asked.items():
            # A file is made of the same list.
            for value in values[:2] if url.endswith("csv/") else values:
                assert status(root, url, {name: value}) in (200, 302, 400), (url, name, value)
        for name in filters:
            assert status(root, url, {name: ["1", "zzz"]}) in (200, 302, 400), (url, name)
        assert status(root, url, dict.fromkeys(filters, "\0")) == 400 or not filters
        assert status(root, f"{url}?p&o=&&=1&%ff=%ff&q=%00", {}) == 400


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_a_search_is_bounded(root: Client, model: type[Model]) -> None:
    for url in urls(model):
        assert status(root, url, {"q": "a " * MAX_WORDS}) == 200
        assert status(root, url, {"q": "a" * MAX_CHARACTERS}) == 200
        many = root.get(url, {"q": "a " * (MAX_WORDS + 1)})
        assert many.status_code == 400 and f"up to {MAX_WORDS}" in text(many)
        long = root.get(url, {"q": "a" * (MAX_CHARACTERS + 1)})
        assert long.status_code == 400 and f"up to {MAX_CHARACTERS}" in text(long)
        assert status(root, url, {"q": "\0"}) == 400
        assert status(root, url, {"q": f'"{"a " * 50}"'}) == 200


def test_the_search_for_an_order_is_bounded(root: Client) -> None:
    for asked in ("a " * (MAX_WORDS + 1), "a" * (MAX_CHARACTERS + 1)):
        page = text(root.get(reverse("admin:search"), {"q": asked}))
        assert "errorlist" in page and "No order found for" not in page


def test_choices_of_a_field_are_searched_within_the_same_bounds(root: Client) -> None:
    asked = {"app_label": "orders", "model_name": "draftorder", "field_name": "customer"}
    choices = reverse("admin:autocomplete")
    assert status(root, choices, {**asked, "term": "a"}) == 200
    for term in ("a " * (MAX_WORDS + 1), "a" * (MAX_CHARACTERS + 1), "\0"):
        assert status(root, choices, {**asked, "term": term}) == 400
    for name in asked:
        for value in ("zzz", "", "9" * 3000, "\0"):
            assert status(root, choices, {**asked, name: value}) in (400, 403, 404)
    for page in VALUES:
        assert status(root, choices, {**asked, "page": page}) in (200, 404)


def test_what_is_wrong_with_an_address_is_said_to_a_person(root: Client) -> None:
    response = root.get("/admin/orders/draftorder/", {"notes__regex": "("})
    assert "This list has no filter “notes__regex”." in text(response)
    assert "NUL" in text(root.get("/admin/orders/draftorder/", {"status__exact": "\0"}))
    far = Client(headers={"Host": "evil.example"}).get("/admin/")
    assert far.status_code == 400 and "evil" not in text(far)


def _request() -> Any:
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    return request


def _tables(sql: str) -> list[str]:
    """The tables that a query reads or changes."""
    return re.findall(r'(?:FROM|JOIN|UPDATE|INTO) "(\w+)"', sql)
