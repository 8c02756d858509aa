"""Exports in the admin: view, cancel, try again and resolve manually."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.models import ErpExport
from exports.pushing.push import push_order
from kernel.db import Now
from orders.models import DraftOrder
from tests.support.admins import (
    logged_in,
    messages,
    needs_a_decision,
    page_url,
    text,
)
from tests.support.builders import an_approved_order

pytestmark = pytest.mark.django_db

Status = DraftOrder.Status


@pytest.fixture
def export(org: Org, connection: ErpConnection, approver: User) -> Iterator[ErpExport]:
    return push_order(an_approved_order(org, approver).id, actor=approver)


def test_the_payload_is_shown_and_downloaded_as_it_is(export: ErpExport, vera: User) -> None:
    client = logged_in(vera)
    page = text(client.get(page_url("exports_erpexport_change", export.id)))
    assert 'key">&quot;qty&quot;</span>: <span class="json-number">1.5</span>' in page
    response = client.get(page_url("exports_erpexport_payload", export.id))
    assert response.content == export.content
    assert response["Content-Disposition"] == f'attachment; filename="{export.filename}"'
    ErpExport.objects.filter(id=export.id).update(
        payload=None, archived_at=Now(), payload_pruned_at=Now(), status="FAILED"
    )
    assert client.get(page_url("exports_erpexport_payload", export.id)).status_code == 404
    page = text(client.get(page_url("exports_erpexport_change", export.id)))
    assert "The archive still has it" in page


def test_cancel_an_export_with_a_reason(export: ErpExport, oskar: User) -> None:
    client = logged_in(oskar)
    url = page_url("exports_erpexport_cancel", export.id)
    assert "This field is required." in text(client.post(url))
    page = client.post(url, {"reason": "Wrong customer"}, follow=True)
    assert messages(page) == ["The export was cancelled."]
    assert "Wrong customer" in text(page)
    export.refresh_from_db()
    assert export.status == ErpExport.Status.FAILED
    assert export.draft_order.status == Status.APPROVED
    said = messages(client.post(url, {"reason": "Again"}, follow=True))
    assert said == ["The export is on its way or finished: it cannot be cancelled."]


def test_a_waiting_export_is_delivered_again(export: ErpExport, oskar: User, vera: User) -> None:
    ErpExport.objects.update(attempts=1, next_attempt_at=None)
    url = page_url("exports_erpexport_deliver", export.id)
    assert "is not sent twice" in text(logged_in(oskar).get(url))
    export.refresh_from_db()
    assert export.next_attempt_at is None
    assert logged_in(vera).post(url).status_code == 403
    page = logged_in(oskar).post(url, follow=True)
    assert messages(page) == ["A worker tries this export again now."]
    export.refresh_from_db()
    assert export.next_attempt_at is not None


def test_resolve_an_export_whose_outcome_is_unknown(
    export: ErpExport, oskar: User, folder: Path
) -> None:
    needs_a_decision(export, folder)
    client = logged_in(oskar)
    exports = client.get(page_url("exports_erpexport_changelist"), {"needs_decision": "yes"})
    assert export.filename in text(exports)
    assert "Resolve manually" in text(client.get(page_url("exports_erpexport_change", export.id)))
    url = page_url("exports_erpexport_resolve", export.id)
    answer = {"outcome": "NOT_DELIVERED", "reason": "Not in the ERP", "confirmation": "yes"}
    assert "This is not the name of the file." in text(client.post(url, answer))
    answer |= {"confirmation": export.filename, "push_again": "on"}
    page = client.post(url, answer, follow=True)
    assert messages(page) == ["The export was resolved."]
    assert "Not in the ERP" in text(page)
    statuses = export.draft_order.exports.values_list("status", flat=True)
    assert sorted(statuses) == ["FAILED", "PENDING"]
    assert "There is nothing to resolve." in text(client.get(url))


def test_resolving_says_what_stands_in_the_way(
    export: ErpExport, oskar: User, folder: Path
) -> None:
    needs_a_decision(export, folder)
    out = folder / "out"
    ErpExport.objects.update(destination={"mode": "filesystem", "folder": str(out)})
    (out / export.filename).write_text("{}")
    page = logged_in(oskar).post(
        page_url("exports_erpexport_resolve", export.id),
        {"outcome": "NOT_DELIVERED", "reason": "?", "confirmation": export.filename},
        follow=True,
    )
    assert "is still in the export folder" in messages(page)[0]
    export.refresh_from_db()
    assert export.status == "PENDING"


def test_search_finds_file_order_and_erp_number(export: ErpExport, vera: User) -> None:
    ErpExport.objects.filter(id=export.id).update(erp_order_id="ERP-77")
    client = logged_in(vera)
    for words, count in ((export.filename, 1), ("PO-1", 1), ("ERP-77", 1), ("nothing", 0)):
        page = text(client.get(page_url("exports_erpexport_changelist"), {"q": words}))
        assert f"{count} result" in page
