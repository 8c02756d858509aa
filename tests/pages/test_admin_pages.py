"""What holds for every page of the admin: looking changes nothing, and texts stay texts."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import Client
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import AuditEntry
from exports.models import ErpExport
from orders.content import content_hash
from orders.models import DraftOrder
from tests.support.admin_pages import Tags, a_full_house, addresses, every_page
from tests.support.browser import enter, watched
from tests.support.tables import tables

pytestmark = pytest.mark.django_db

MARKUP = "=1+1\"'><img src=x onerror=alert(1)><script>alert(1)</script>{{7777*3}}{% now 'Y' %}"
APPS = {"accounts", "admin", "connectors", "exports", "notifications", "orders"}
# What this service writes itself, in columns and in JSON; nobody else can put anything there.
OWN = {
    "at",
    "event_types",
    "outcome",
    "password",
    "slug",
    "sha256",
    "payload_sha256",
    "digest",
    "prefix",
    "approved_hash",
}


@pytest.fixture
def full_house(dropzone_root: Path) -> Client:
    """A superuser, in a house where there is one of everything."""
    client = Client()
    client.force_login(a_full_house(dropzone_root))
    return client


def test_looking_changes_nothing_and_texts_stay_texts(full_house: Client) -> None:
    taint()
    before = tables()
    pages = every_page(full_house, searched=MARKUP)
    assert tables() == before
    assert len(pages) > 100
    assert {url: inline for url, page in pages.items() if (inline := Tags(page).inline)} == {}
    assert [url for url, page in pages.items() if str(7777 * 3) in page] == []
    # And they do stand there.
    told = [url for url in pages if re.search(r"(change|history|preview)/$|\?q=", url)]
    assert [url for url in told if "onerror=alert(1)&gt;" not in pages[url]] == []


@pytest.mark.parametrize(
    "address",
    [
        "exports/erpexport/?error=ERP_REFUSED:%00",
        "notifications/notification/?event_type__exact=%00",
        "orders/draftorder/decide/retry/?batch=7d5b2c1e-3c58-4b5a-9a57-2b3a1c5d7e9f&outcome=%00",
    ],
)
def test_what_no_text_holds_is_not_looked_for(admin_client: Client, address: str) -> None:
    assert admin_client.get(f"/admin/{address}").status_code == 400


def test_texts_from_outside_are_no_formulas(full_house: Client) -> None:
    taint()
    files = [url for route, urls in addresses() if route.endswith("_csv") for url in urls]
    assert files
    for url in files:
        table = full_house.get(url).getvalue().decode("utf-8-sig")
        cells = {cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row}
        assert [cell for cell in cells if cell.startswith("=")] == []
        assert [cell for cell in cells if cell.startswith("'=1+1")]


@pytest.mark.django_db(transaction=True)
def test_no_text_from_outside_is_run(
    page: Page, live_server: LiveServer, dropzone_root: Path
) -> None:
    client = Client()
    client.force_login(a_full_house(dropzone_root))
    taint()
    enter(page, live_server.url, client)
    with watched(page.context):
        for route, urls in addresses():
            if route.endswith("_change") or route == "index":
                page.goto(live_server.url + urls[0])
                # An image in the page would have asked for its source.
                assert page.locator("img[src=x]").count() == 0


def taint() -> None:
    """Put markup before every text of every row, as far as it fits in."""
    for model in apps.get_models():
        if model._meta.app_label in APPS:
            for row in list(model._base_manager.all()):
                changes = dict(_tainted(row))
                if model is AuditEntry:
                    # Those that there are cannot be changed.
                    AuditEntry.objects.create(org=row.org, **changes)
                else:
                    model._base_manager.filter(pk=row.pk).update(**changes)
    for export in ErpExport.objects.exclude(payload=None):
        ErpExport.objects.filter(pk=export.pk).update(payload=json.dumps({MARKUP: MARKUP}).encode())
    # As if it had been approved so, for its document to be shown.
    for order in DraftOrder.objects.filter(status=DraftOrder.Status.APPROVED):
        DraftOrder.objects.filter(pk=order.pk).update(approved_hash=content_hash(order))


def _tainted(row: models.Model) -> Iterator[tuple[str, Any]]:
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if field.choices or field.primary_key or field.name in OWN or not value:
            continue
        if isinstance(field, models.JSONField):
            yield field.name, _tainted_json(value)
        elif type(field) in (models.CharField, models.TextField):
            yield field.name, f"{MARKUP}{value}"[: field.max_length]


def _tainted_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: v if n in OWN else _tainted_json(v) for n, v in value.items()}
    if isinstance(value, list):
        return [_tainted_json(item) for item in value]
    return f"{MARKUP}{value}" if isinstance(value, str) else value
