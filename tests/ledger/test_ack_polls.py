"""Polls: when they run, how much they read, what they say of pickups and of the connection."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from accounts.models import Org, User
from connectors import circuit_breaker, lease
from connectors.models import ErpConnection
from exports.acks import poller
from exports.acks.poller import poll
from exports.delivery.dispatch import wake_due_polls
from exports.models import ErpAck, ErpExport
from kernel.db import db_now
from tests.support.acks import accept, some_sent, state, write
from tests.support.builders import a_connection, pause_by_system, some_exports
from tests.support.dropzones import Dropzone

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.ledger,
    pytest.mark.dropzones("filesystem", "openssh"),
]


def test_a_poll_waits_for_its_turn(erp: ErpConnection) -> None:
    held = lease.acquire(erp.id)
    assert held
    assert poll(erp.id).is_busy
    erp.refresh_from_db()
    assert db_now() < erp.poll_due_at < db_now() + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("PERMISSION", True),
        ("NO_RENAME", True),
        ("AUTH_FAILED", False),
        ("HOST_KEY_CHANGED", False),
    ],
)
def test_answers_are_read_while_the_connection_is_paused(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, code: str, reads: bool
) -> None:
    pause_by_system(erp, code)
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == ("ACKED" if reads else "SENT")


def test_a_refused_login_during_a_pause_is_not_repeated(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    """The pause lets acks be read, until a poll meets an error that locks accounts."""
    pause_by_system(erp, "DIR_MISSING")
    erp.refresh_from_db()
    assert circuit_breaker.may_read(erp)
    pause_by_system(erp, "AUTH_FAILED")
    erp.refresh_from_db()
    assert erp.pause_code == "AUTH_FAILED"
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == "SENT"
    # No later error hides it.
    pause_by_system(erp, "PERMISSION")
    erp.refresh_from_db()
    assert erp.pause_code == "AUTH_FAILED"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_persons_pause_does_not_uncover_a_wrong_password(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User, is_first: bool
) -> None:
    if is_first:
        pause_by_system(erp, "AUTH_FAILED")
        circuit_breaker.pause(erp.id, reason="Holiday", actor=ann)
    else:
        circuit_breaker.pause(erp.id, reason="Holiday", actor=ann)
        pause_by_system(erp, "AUTH_FAILED")
    erp.refresh_from_db()
    assert (erp.pause_code, erp.pause_text, erp.paused_by) == ("AUTH_FAILED", "Holiday", ann)
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == "SENT"
    assert circuit_breaker.run_test(erp).success
    erp.refresh_from_db()
    assert (erp.pause_code, erp.pause_text, erp.paused_by) == ("BY_PERSON", "Holiday", ann)
    poll(erp.id)
    assert state(sent)[0] == "ACKED"


def test_more_answers_than_one_poll_reads(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for export in some_sent(erp, org, ann, 12):
        accept(dropzone, export)
    monkeypatch.setattr(poller, "_LISTED_AT_ONCE", 5)
    monkeypatch.setattr(poller, "RUN_SECONDS", 0)
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.last_poll_at is None
    assert erp.poll_due_at <= db_now(), "the rest is read at once"
    monkeypatch.setattr(poller, "RUN_SECONDS", 20)
    monkeypatch.setattr(poller, "BATCH_FILES", 2)
    assert poll(erp.id).classifications == {"APPLIED": 12}


# Pickups and deadlines.
def test_a_file_that_is_gone_was_picked_up(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    taken, left = some_sent(erp, org, ann, 2)
    (dropzone.exports / taken.filename).unlink()
    assert poll(erp.id).picked_up == 1
    taken.refresh_from_db()
    left.refresh_from_db()
    assert taken.picked_up_at
    assert left.picked_up_at is None
    assert poll(erp.id).picked_up == 0


def test_many_files_are_looked_for_in_one_listing(
    dropzone: Dropzone,
    erp: ErpConnection,
    org: Org,
    ann: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exports.delivery.pickup._LOOKED_AT", 1)
    taken, *_ = some_sent(erp, org, ann, 4)
    (dropzone.exports / taken.filename).unlink()
    assert poll(erp.id).picked_up == 1


def test_in_another_folder_absence_says_nothing(org: Org, ann: User, dropzone_root: Path) -> None:
    folder = dropzone_root / "out"
    folder.mkdir()
    erp = a_connection(org, {"mode": "filesystem", "export_path": str(folder)})
    (export,) = some_sent(erp, org, ann, 1)
    folder.rename(dropzone_root / "elsewhere")
    poll(erp.id)
    folder.mkdir()
    poll(erp.id)
    export.refresh_from_db()
    assert export.picked_up_at is None


def test_an_answer_that_does_not_come_is_overdue_after_a_poll(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    ErpConnection.objects.update(ack_deadline=timedelta(hours=1))
    (export,) = some_sent(erp, org, ann, 1)
    poll(erp.id)

    def is_overdue() -> bool:
        row = ErpExport.objects.select_related("erp_connection").get(id=export.id)
        assert row.is_overdue == ErpExport.objects.filter(ErpExport.OVERDUE).exists()
        return row.is_overdue

    assert not is_overdue()
    ErpExport.objects.update(ack_due_at=db_now() - timedelta(minutes=1))
    ErpConnection.objects.update(last_poll_at=db_now() - timedelta(minutes=2))
    assert not is_overdue(), "perhaps the answer has lain there since"
    poll(erp.id)
    assert is_overdue()
    assert state(export)[0] == "SENT", "it is not sent again by itself"
    accept(dropzone, export)
    poll(erp.id)
    assert not is_overdue()


# What polls and deliveries know of each other.
def test_a_missing_export_folder_is_noted_by_a_poll(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    shutil.rmtree(dropzone.exports)
    assert poll(erp.id).errors == {"DIR_MISSING": 1}
    erp.refresh_from_db()
    assert erp.folder_missing_at


def test_a_poll_does_not_make_failing_deliveries_look_well(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User, sent: ErpExport
) -> None:
    some_exports(org, ann, first=10)
    ErpConnection.objects.update(failures=7, failing_since=db_now())
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.failures == 7
    ErpExport.objects.filter(status="PENDING").update(status="FAILED")
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.failures == 0


def test_what_cannot_be_moved_makes_nothing_less_overdue(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    (dropzone.acks / "processed").write_text("in the way")
    answered, silent = some_sent(erp, org, ann, 2)
    accept(dropzone, answered)
    ErpExport.objects.update(ack_due_at=db_now() - timedelta(minutes=1))
    assert poll(erp.id).errors == {"ACK_MOVE_FAILED": 1}
    assert list(ErpExport.objects.filter(ErpExport.OVERDUE)) == [silent]


def test_a_processed_folder_that_leads_elsewhere_stops_no_answer(
    org: Org, ann: User, dropzone_root: Path, tmp_path: Path
) -> None:
    for name in ("exports", "acks"):
        (dropzone_root / name).mkdir()
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    erp = a_connection(org, {**config, "ack_path": str(dropzone_root / "acks")})
    (dropzone_root / "acks" / "processed").symlink_to(tmp_path)
    exports = some_sent(erp, org, ann, 2)
    for export in exports:
        (dropzone_root / "acks" / f"ack_{export.filename}").write_text('{"status": "ACKED"}')
        poll(erp.id)
        assert state(export)[0] == "ACKED"
    assert list(tmp_path.iterdir()) == []


def test_a_defect_in_a_poll_does_not_stay_unseen(
    erp: ErpConnection, sent: ErpExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.delivery.pickup.detect", lambda *args: 1 / 0)
    assert poll(erp.id).errors == {"INTERNAL": 1}
    erp.refresh_from_db()
    assert erp.ack_error
    assert erp.last_poll_at is None


def test_an_enqueued_poll_is_not_enqueued_again(erp: ErpConnection) -> None:
    assert wake_due_polls() == 1
    ErpConnection.objects.update(poll_due_at=db_now() - timedelta(seconds=1))
    assert wake_due_polls() == 0, "one bell is enough"
    poll(erp.id)
    ErpConnection.objects.update(poll_due_at=db_now() - timedelta(seconds=1))
    assert wake_due_polls() == 1


def test_a_touched_stranger_is_read_once(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    name = "ack_sales_order_typo.json"
    write(dropzone, name, {"status": "ACKED"})
    poll(erp.id)
    os.utime(dropzone.acks / name, (1_000_000, 1_000_000))
    assert poll(erp.id).classifications == {"UNMATCHED": 1}
    assert poll(erp.id).classifications == {}
    assert ErpAck.objects.count() == 1
