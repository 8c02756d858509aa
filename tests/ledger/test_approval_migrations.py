"""The migrations that put existing orders and exports right, forwards and backwards."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db.migrations.exceptions import IrreversibleError
from django.db.models import F

from accounts.models import AuditEntry, User
from connectors.models import ErpConnection
from exports.models import ErpExport
from orders.models import DraftOrder
from tests.support.builders import some_exports

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.ledger]

BEFORE = ("exports", "0020_export_keeps_its_approval")


@pytest.fixture
def exports(mounted: ErpConnection, ann: User) -> list[ErpExport]:
    return some_exports(mounted.org, ann, 2)


@pytest.fixture(autouse=True)
def _migrated(exports: list[ErpExport]) -> Any:
    """Let the next test find the newest tables."""
    yield
    call_command("migrate", verbosity=0)


def migrate_back() -> None:
    call_command("migrate", *BEFORE, verbosity=0)
    call_command("migrate", "orders", "0004", verbosity=0)


def approval(row: ErpExport | DraftOrder) -> tuple[User | None, str]:
    row.refresh_from_db()
    return row.approved_by, row.approved_hash


def test_existing_exports_get_the_approvals_that_are_known(
    exports: list[ErpExport], ann: User
) -> None:
    migrate_back()
    ErpExport.objects.update(approved_by=None, approved_hash="")
    known, unknown = exports
    # It was approved again after that export: that was another approval.
    DraftOrder.objects.filter(id=unknown.draft_order_id).update(approved_at=F("updated_at"))
    ErpExport.objects.filter(id=unknown.id).update(created_at="2026-01-01T00:00Z")
    call_command("migrate", verbosity=0)
    assert approval(known) == (ann, known.draft_order.approved_hash)
    assert approval(unknown) == (None, "")


def test_an_order_pushed_without_approval_gets_that_of_its_export_back(
    exports: list[ErpExport], ann: User
) -> None:
    ErpExport.objects.update(status="ACKED", sent_at=F("created_at"), sent_evidence="OBSERVED")
    DraftOrder.objects.update(status="PUSHED", approved_by=None, approved_at=None, approved_hash="")
    forgotten = exports[1]
    ErpExport.objects.filter(id=forgotten.id).update(approved_by=None, approved_hash="")
    with pytest.raises(IrreversibleError) as raised:
        migrate_back()
    assert str(forgotten.draft_order_id) in str(raised.value)
    assert str(exports[0].draft_order_id) not in str(raised.value)
    DraftOrder.objects.filter(id=forgotten.draft_order_id).update(
        approved_by=ann, approved_at=F("created_at"), approved_hash="by hand"
    )
    migrate_back()
    order = exports[0].draft_order
    # Of one column: the table has the names of a former release.
    sent = ErpExport.objects.values_list("approved_hash", flat=True).get(id=exports[0].id)
    assert approval(order) == (ann, sent)
    assert order.approved_at


def test_a_rejected_order_that_the_erp_has_accepted_becomes_pushed(
    exports: list[ErpExport],
) -> None:
    accepted, failed = exports
    call_command("migrate", "exports", "0021", verbosity=0)
    ErpExport.objects.filter(id=accepted.id).update(
        status="ACKED", sent_at=F("created_at"), sent_evidence="OBSERVED"
    )
    ErpExport.objects.filter(id=failed.id).update(status="FAILED")
    DraftOrder.objects.update(status="REJECTED")
    call_command("migrate", verbosity=0)
    statuses = dict(DraftOrder.objects.values_list("id", "status"))
    assert statuses == {accepted.draft_order_id: "PUSHED", failed.draft_order_id: "REJECTED"}
    (entry,) = AuditEntry.objects.filter(action="order.accepted_late")
    assert (entry.object_id, entry.before) == (str(accepted.draft_order_id), {"status": "REJECTED"})
