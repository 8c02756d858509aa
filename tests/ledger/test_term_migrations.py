"""The migrations to the field's terms, both ways: kinds of events, permission, counters."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from connectors.models import ErpConnection
from exports.models import Counter, CounterProgress, ErpAck, ErpExport, ErpExportEvent
from tests.support.builders import a_connection, a_user, an_org, some_exports

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.ledger]

BEFORE = [("exports", "0023_batch_item_content"), ("connectors", "0010_pause_has_code")]
KINDS = {
    "SETTLED": "RESOLVED",
    "SETTLING": "RESOLVING",
    "SWEPT": "CLEANED_UP",
    "ANSWERED": "CONTRADICTED",
    "REFUSED": "REFUSED",  # stays
}


@pytest.fixture
def export(dropzone_root: Path) -> ErpExport:
    org = an_org()
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root / "exports")})
    (export,) = some_exports(org, a_user(org))
    return export


def permissions_of_operators() -> set[str]:
    rows = Group.objects.get(name="Operator").permissions.values_list("codename", flat=True)
    return {code for code in rows if code in ("settle_erpexport", "resolve_erpexport")}


def test_rows_of_a_former_release_get_the_terms_and_lose_them_again(export: ErpExport) -> None:
    erp = export.erp_connection
    for kind in KINDS.values():
        ErpExportEvent.objects.create(export=export, kind=kind, status="FAILED")
    ErpAck.objects.create(
        org=erp.org, erp_connection=erp, filename="x", sha256="0", raw="", classification="LATE"
    )
    Counter.objects.create(erp_connection=erp, outcome="sent", label="1", count=7)
    CounterProgress.objects.create(id=1, position=5, high_watermark=9)
    ErpConnection.objects.update(enqueued_at="2026-01-01T00:00Z", degraded_since=None)
    try:
        executor = MigrationExecutor(connection)
        executor.migrate(BEFORE)
        old = executor.loader.project_state(BEFORE).apps
        kinds = old.get_model("exports", "ErpExportEvent").objects.values_list("kind", flat=True)
        assert KINDS.keys() <= set(kinds)
        assert old.get_model("exports", "ErpAck").objects.get().verdict == "LATE"
        assert old.get_model("exports", "Tally").objects.get().count == 7
        progress = old.get_model("exports", "TallyProgress").objects.get()
        assert (progress.counted, progress.noted) == (5, 9)
        assert old.get_model("connectors", "ErpConnection").objects.get().rung_at is not None
        assert permissions_of_operators() == {"settle_erpexport"}
    finally:
        call_command("migrate", verbosity=0)
    assert set(KINDS.values()) <= set(ErpExportEvent.objects.values_list("kind", flat=True))
    assert not ErpExportEvent.objects.filter(kind__in=KINDS.keys() - {"REFUSED"}).exists()
    assert ErpAck.objects.get().classification == "LATE"
    assert Counter.objects.get().count == 7
    assert CounterProgress.objects.get().position == 5
    assert ErpConnection.objects.get().enqueued_at is not None
    assert permissions_of_operators() == {"resolve_erpexport"}
