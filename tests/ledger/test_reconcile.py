"""After a restore, reconciliation restores from the dropzones what the backup lacks."""

import os

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from connectors.models import DeliveryInstance, ErpConnection
from connectors.storage import DjangoObjectStorage
from exports.acks import poller, review
from exports.delivery.archive import archive_pending
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import retry_order
from exports.resolution.manual import Resolution, resolve
from kernel.errors import RuleViolation
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import KINDS, Dropzone

pytestmark = pytest.mark.django_db


def restore() -> None:
    """Let the database be one that was restored."""
    DeliveryInstance.objects.update(database="the lost one")


def status(export: ErpExport) -> str:
    export.refresh_from_db()
    return export.status


def code(export: ErpExport) -> str | None:
    export.refresh_from_db()
    return export.error_json and export.error_json["code"]


def answer(dropzone: Dropzone, export: ErpExport, text: str = "") -> None:
    text = text or '{"status": "ACKED", "erp_order_id": "4711"}'
    (dropzone.acks / f"ack_{export.filename}").write_text(text)


def put_away(dropzone: Dropzone, folder: str, export: ErpExport, text: str = "") -> None:
    answer(dropzone, export, text)
    name = f"ack_{export.filename}"
    (dropzone.acks / folder).mkdir(exist_ok=True)
    (dropzone.acks / name).rename(dropzone.acks / folder / name)


@pytest.mark.parametrize("dropzone", KINDS, indirect=True)
def test_what_was_sent_and_answered_is_seen_in_every_kind_of_dropzone(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    lying, answered, read = some_exports(erp.org, ann, 3)
    assert lying.content
    (dropzone.exports / lying.filename).write_bytes(lying.content)
    answer(dropzone, answered)
    put_away(dropzone, "processed", read)
    restore()
    call_command("reconcile")
    assert [status(export) for export in (lying, answered, read)] == ["PENDING"] * 3
    for _ in range(2):
        call_command("reconcile", "--apply")
        assert [status(export) for export in (lying, answered, read)] == ["SENT", "SENT", "ACKED"]
    lying.refresh_from_db()
    assert (lying.sent_evidence, read.erp_order_id) == ("OBSERVED", "4711")
    assert lying.dropzone_path

    call_command("claim_delivery_instance", "--confirm", "development")
    assert deliver(erp.id).sent == 0
    poller.poll(erp.id)
    assert status(answered) == "ACKED"
    assert ErpAck.objects.filter(classification="APPLIED").exclude(moved_at=None).count() == 2


def test_a_late_acceptance_that_was_forgotten_is_found(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    (export,) = some_exports(erp.org, ann)
    deliver(erp.id)
    (dropzone.acks / f"error_{export.filename}").write_text('{"status": "FAILED"}')
    poller.poll(erp.id)
    put_away(dropzone, "processed", export)
    restore()
    call_command("reconcile", "--apply")
    ack = ErpAck.objects.get(classification="CONFLICT")
    with pytest.raises(RuleViolation) as refused:
        retry_order(export.draft_order_id, actor=ann)
    assert refused.value.extra == {"ack": ack.id}
    review.accept(ack.id, actor=ann, reason="The ERP has it")
    assert status(export) == "ACKED"
    assert export.draft_order.status == "PUSHED"


def test_what_left_no_trace_is_held_for_a_person(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    arrived, lost = some_exports(erp.org, ann, 2)
    restore()
    call_command("reconcile", "--apply")
    call_command("claim_delivery_instance", "--confirm", "development")
    assert deliver(erp.id).sent == 0
    assert code(arrived) == code(lost) == "UNTRACED"
    resolve(arrived.id, Resolution.DELIVERED, actor=ann, reason="The ERP has it")
    arrived.refresh_from_db()
    assert (arrived.status, arrived.sent_evidence) == ("SENT", "CONFIRMED")


def test_what_left_no_trace_is_sent_if_that_is_wanted(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    (export,) = some_exports(erp.org, ann)
    restore()
    call_command("reconcile", "--apply")
    call_command("reconcile", "--apply", "--send-untraced")
    assert code(export) is None
    call_command("claim_delivery_instance", "--confirm", "development")
    assert deliver(erp.id).sent == 1


def test_another_file_under_the_name_is_no_evidence(
    erp: ErpConnection, ann: User, dropzone: Dropzone, capsys: pytest.CaptureFixture[str]
) -> None:
    (export,) = some_exports(erp.org, ann)
    (dropzone.exports / export.filename).write_text("{}")
    restore()
    call_command("reconcile", "--apply")
    assert "1 not sent: another file lies under its name" in capsys.readouterr().out
    assert status(export) == "PENDING"
    call_command("claim_delivery_instance", "--confirm", "development")
    assert deliver(erp.id).sent == 0
    assert code(export) == "NAME_CONFLICT"


def test_a_malformed_answer_shows_that_it_was_sent(
    erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    (export,) = some_exports(erp.org, ann)
    put_away(dropzone, "error", export, "{")
    restore()
    call_command("reconcile", "--apply")
    assert status(export) == "SENT"
    assert not ErpAck.objects.exists()


@pytest.mark.parametrize(("refused_at", "becomes"), [(2e9, "ACKED"), (1e9, "FAILED")])
def test_of_two_answers_the_first_counts(
    erp: ErpConnection, ann: User, dropzone: Dropzone, refused_at: float, becomes: str
) -> None:
    (export,) = some_exports(erp.org, ann)
    put_away(dropzone, "processed", export)
    refusal = dropzone.acks / "processed" / f"error_{export.filename}"
    refusal.write_text('{"status": "FAILED", "message": "no"}')
    os.utime(refusal, (refused_at, refused_at))
    restore()
    call_command("reconcile", "--apply")
    assert status(export) == becomes
    assert set(ErpAck.objects.values_list("classification", flat=True)) == {"APPLIED", "CONFLICT"}


def test_what_counts_already_does_not_count_again(
    erp: ErpConnection, ann: User, dropzone: Dropzone, capsys: pytest.CaptureFixture[str]
) -> None:
    (export,) = some_exports(erp.org, ann)
    deliver(erp.id)
    answer(dropzone, export)
    poller.poll(erp.id)
    restore()
    call_command("reconcile", "--apply")
    assert capsys.readouterr().out.startswith(f"{erp}\nArchive\n")
    assert ErpAck.objects.count() == 1


def test_a_dropzone_that_cannot_be_reached_is_named_and_its_exports_wait(
    erp: ErpConnection, ann: User, dropzone: Dropzone, capsys: pytest.CaptureFixture[str]
) -> None:
    other = an_org("other")
    gone = {**dropzone.config, "export_path": dropzone.config["export_path"] + "-gone"}
    a_connection(other, gone)
    some_exports(other, a_user(other, "bob"))
    (here,) = some_exports(erp.org, ann)
    restore()
    with pytest.raises(CommandError, match="Not everything could be compared"):
        call_command("reconcile", "--apply")
    assert "not compared: DIR_MISSING" in capsys.readouterr().out
    assert code(here) == "UNTRACED"


def test_a_database_that_delivers_is_not_changed(erp: ErpConnection) -> None:
    call_command("reconcile")
    with pytest.raises(CommandError, match="delivers from this database"):
        call_command("reconcile", "--apply")


def test_documents_that_the_ledger_does_not_know_are_named(
    erp: ErpConnection,
    ann: User,
    storage: DjangoObjectStorage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    some_exports(erp.org, ann, 2)
    archive_pending()
    key = f"exports/{erp.org.id}/{'0' * 64}.json"
    storage.put(key, b"{}")
    call_command("reconcile")
    told = capsys.readouterr().out
    assert f"Archive\n  1 of exports that the ledger does not know\n    {key}\n" in told


def test_a_long_list_is_cut(
    erp: ErpConnection, dropzone: Dropzone, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        name = f"sales_order_00000000_20250101_000000_{number:08x}.json"
        (dropzone.exports / name).write_text("{}")
    call_command("reconcile")
    told = capsys.readouterr().out
    assert "25 files that the ledger does not know" in told
    assert "and 5 more" in told
