"""Retention deletes finished rows after the time set by the organisation, and nothing else."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from accounts.models import Org, User
from connectors.errors import ConnectorError
from connectors.models import DeliveryInstance, ErpConnection
from connectors.storage import DjangoObjectStorage
from exports import retention
from exports.acks import poller
from exports.delivery.archive import archive_pending
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport, ErpExportEvent
from kernel.db import db_now
from tests.support.admins import logged_in, text
from tests.support.builders import a_connection, an_org, some_exports
from tests.support.dropzones import Dropzone
from worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

EVERYTHING = ("keep_payloads_days", "keep_archive_days", "keep_events_days", "keep_acks_days")


def keep(org: Org, *names: str, days: int = 100) -> None:
    for name in names:
        setattr(org, name, days)
    org.save()


def age(days: int = 101) -> None:
    """Let everything that there is be so old."""
    then = db_now() - timedelta(days=days)
    ErpExport.objects.update(created_at=then, updated_at=then)
    ErpAck.objects.update(seen_at=then)


def answered(erp: ErpConnection, ann: User, dropzone: Dropzone, count: int = 1) -> list[ErpExport]:
    """Exports that were sent, archived and answered."""
    exports = some_exports(erp.org, ann, count)
    deliver(erp.id)
    for export in exports:
        path = dropzone.acks / f"ack_{export.filename}"
        path.write_text('{"status": "ACKED", "erp_order_id": "4711"}')
    poller.poll(erp.id)
    archive_pending()
    assert ErpExport.objects.filter(status="ACKED").count() == count
    return exports


def test_everything_is_kept_for_ever_unless_told_otherwise(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    answered(erp, ann, dropzone)
    age(10_000)
    assert retention.prune() == {}


def test_what_is_old_is_forgotten_and_what_became_of_it_is_not(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone, storage: DjangoObjectStorage
) -> None:
    (export,) = answered(erp, ann, dropzone)
    keep(org, *EVERYTHING)
    age()
    assert retention.prune() == {
        "payloads": 1,
        "archived objects": 1,
        "histories of exports": 1,
        "texts of answers": 1,
    }
    export.refresh_from_db()
    assert export.payload is None
    assert export.payload_pruned_at and export.archive_pruned_at and export.events_pruned_at
    assert (export.status, export.erp_order_id) == ("ACKED", "4711")
    assert not export.events.exists()
    ack = ErpAck.objects.get()
    assert (ack.raw, ack.erp_order_id) == ("", "4711")
    assert ack.raw_pruned_at
    with pytest.raises(ConnectorError) as raised:
        storage.get(export.export_storage_key)
    assert raised.value.code == "ARCHIVE_MISSING"
    # It is missing as it should be.
    call_command("verify_archive")
    assert retention.prune() == {}


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_has_its_own_time(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone, name: str
) -> None:
    answered(erp, ann, dropzone)
    keep(org, *EVERYTHING, days=200)
    keep(org, name)
    age()
    (count,) = retention.prune().values()
    assert count == 1


def test_what_is_young_is_kept(erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone) -> None:
    answered(erp, ann, dropzone)
    keep(org, *EVERYTHING)
    age(99)
    assert retention.prune() == {}
    # An old one of which something was decided only now is young again.
    age()
    ErpExport.objects.update(updated_at=db_now())
    assert retention.prune() == {"texts of answers": 1}


def test_another_orgs_is_kept(erp: ErpConnection, ann: User, dropzone: Dropzone) -> None:
    answered(erp, ann, dropzone)
    keep(an_org("other"), *EVERYTHING)
    age()
    assert retention.prune() == {}


@pytest.mark.parametrize("status", ["PENDING", "SENT"])
def test_what_is_under_way_is_kept(erp: ErpConnection, org: Org, ann: User, status: str) -> None:
    some_exports(org, ann)
    if status == "SENT":
        deliver(erp.id)
    archive_pending()
    assert ErpExport.objects.get().status == status
    keep(org, *EVERYTHING)
    age()
    assert retention.prune() == {}


def test_what_is_sent_to_an_erp_that_never_answers_is_finished(
    org: Org, ann: User, dropzone: Dropzone
) -> None:
    config = {name: value for name, value in dropzone.config.items() if name != "ack_path"}
    silent = a_connection(org, config)
    some_exports(org, ann)
    deliver(silent.id)
    archive_pending()
    keep(org, *EVERYTHING)
    age()
    assert retention.prune().keys() == {"payloads", "histories of exports", "archived objects"}
    export = ErpExport.objects.get()
    assert (export.status, export.content) == ("SENT", None)


def test_what_is_not_archived_is_kept(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone
) -> None:
    answered(erp, ann, dropzone)
    ErpExport.objects.update(archived_at=None)
    keep(org, "keep_payloads_days", "keep_archive_days")
    age()
    assert retention.prune() == {}


def test_what_a_person_has_to_decide_is_kept(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone
) -> None:
    (export,) = answered(erp, ann, dropzone)
    path = dropzone.acks / f"error_{export.filename}"
    path.write_text('{"status": "FAILED", "message": "no"}')
    poller.poll(erp.id)
    assert ErpAck.objects.filter(ErpAck.OPEN).count() == 1
    keep(org, *EVERYTHING)
    age()
    assert retention.prune() == {}


def test_the_cleanup_still_finds_its_files(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone
) -> None:
    answered(erp, ann, dropzone)
    ErpExport.objects.update(attempts=2, cleaned_up_at=None)
    keep(org, "keep_events_days")
    age()
    assert retention.prune() == {}
    ErpExport.objects.update(cleaned_up_at=db_now())
    assert retention.prune() == {"histories of exports": 1}


def test_a_shared_object_goes_with_its_last_export(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone, storage: DjangoObjectStorage
) -> None:
    first, second = answered(erp, ann, dropzone, 2)
    key = first.export_storage_key
    ErpExport.objects.filter(id=second.id).update(
        export_storage_key=key, payload_sha256=first.payload_sha256
    )
    keep(org, "keep_archive_days")
    age()
    ErpExport.objects.filter(id=second.id).update(updated_at=db_now())
    assert retention.prune() == {"archived objects": 1}
    assert storage.get(key)
    age()
    assert retention.prune() == {"archived objects": 1}
    with pytest.raises(ConnectorError):
        storage.get(key)


def test_an_object_that_comes_to_be_shared_at_that_moment_is_archived_anew(
    erp: ErpConnection,
    org: Org,
    ann: User,
    dropzone: Dropzone,
    storage: DjangoObjectStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = answered(erp, ann, dropzone, 2)
    keep(org, "keep_archive_days")
    age()
    delete = DjangoObjectStorage.delete

    def share(self: DjangoObjectStorage, key: str) -> None:
        ErpExport.objects.filter(id=new.id).update(
            export_storage_key=key,
            payload_sha256=old.payload_sha256,
            payload=old.payload,
            updated_at=db_now(),
        )
        delete(self, key)

    ErpExport.objects.filter(id=new.id).update(updated_at=db_now())
    monkeypatch.setattr(DjangoObjectStorage, "delete", share)
    assert retention.prune() == {"archived objects": 1}
    assert archive_pending() == 1
    assert storage.get(old.export_storage_key) == old.content


def test_it_goes_in_small_steps(
    erp: ErpConnection,
    org: Org,
    ann: User,
    dropzone: Dropzone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered(erp, ann, dropzone, 3)
    keep(org, "keep_payloads_days")
    age()
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    monkeypatch.setattr(retention, "_RUN_SECONDS", 0)
    assert retention.prune() == {}
    monkeypatch.setattr(retention, "_RUN_SECONDS", 60)
    assert retention.prune() == {"payloads": 3}


def test_a_copy_of_the_database_removes_nothing(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone, storage: DjangoObjectStorage
) -> None:
    (export,) = answered(erp, ann, dropzone)
    keep(org, *EVERYTHING)
    age()
    DeliveryInstance.objects.update(name="production")
    tasks.prune()
    with pytest.raises(CommandError, match="belongs to the installation “production”"):
        call_command("prune", "--apply")
    assert storage.get(export.export_storage_key)


def test_the_command_counts_before_it_forgets(
    erp: ErpConnection,
    org: Org,
    ann: User,
    dropzone: Dropzone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered(erp, ann, dropzone, 2)
    keep(org, "keep_payloads_days", "keep_events_days")
    age()
    call_command("prune")
    assert capsys.readouterr().out == "2 payloads due\n2 histories of exports due\n"
    assert ErpExport.objects.filter(payload=None).count() == 0
    call_command("prune", "--apply")
    assert capsys.readouterr().out == "2 payloads forgotten\n2 histories of exports forgotten\n"
    assert ErpExport.objects.filter(payload=None).count() == 2
    assert not ErpExportEvent.objects.exists()
    call_command("prune")
    assert "nothing due" in capsys.readouterr().out


def test_the_admin_says_when_it_was_pruned(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone
) -> None:
    (export,) = answered(erp, ann, dropzone)
    keep(org, "keep_payloads_days", "keep_events_days", "keep_acks_days")
    age()
    retention.prune()
    ann.is_staff = ann.is_superuser = True
    ann.save()
    client = logged_in(ann)
    page = text(client.get(f"/admin/exports/erpexport/{export.id}/change/"))
    today = f"{db_now():%Y-%m-%d}"
    assert f"Removed on {today}" in page and "The archive still has it" in page
    assert f"Earlier events were removed on {today}" in page
    ack = ErpAck.objects.get()
    assert f"Removed on {today}" in text(client.get(f"/admin/exports/erpack/{ack.id}/change/"))
    keep(org, "keep_archive_days")
    retention.prune()
    page = text(client.get(f"/admin/exports/erpexport/{export.id}/change/"))
    assert "also from the archive" in page


def test_a_month_is_the_least(org: Org) -> None:
    org.keep_acks_days = 29
    with pytest.raises(ValidationError):
        org.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        org.save()


def test_an_archive_that_cannot_be_asked_holds_up_nothing_else(
    erp: ErpConnection, org: Org, ann: User, dropzone: Dropzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(storage: DjangoObjectStorage, key: str) -> None:
        raise ConnectorError("ARCHIVE_FAILED", detail=key)

    monkeypatch.setattr(DjangoObjectStorage, "delete", refuse)
    answered(erp, ann, dropzone)
    keep(org, *EVERYTHING)
    age()
    with pytest.raises(ConnectorError, match="ARCHIVE_FAILED"):
        retention.prune()
    assert +retention.count_due() == {"archived objects": 1}
