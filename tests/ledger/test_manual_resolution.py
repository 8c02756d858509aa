"""Manual resolution: a person decides, unless the dropzone contradicts the decision."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Org, User
from connectors import lease
from connectors.configuring import change_config, masked_config
from connectors.dropzone.session import DropzoneSession
from connectors.dropzone.sftp.folder import SftpFolder
from connectors.models import ErpConnection
from connectors.port import Evidence
from exports.delivery import cleanup
from exports.delivery.protocol import deliver
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.push import deliver_again
from exports.resolution import manual
from exports.resolution.manual import Resolution, resolve
from kernel.db import db_now
from kernel.errors import RuleViolation
from tests.support.builders import a_connection, pause_by_system, some_exports
from tests.support.dropzones import Dropzone

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.ledger,
    pytest.mark.dropzones("filesystem", "openssh"),
]


def a_staged_export(dropzone: Dropzone, org: Org, ann: User) -> ErpExport:
    """An export whose worker died between claim and rename; its folder then went missing."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    tmp = f"{export.filename}.aaaaaaaa.tmp"
    assert export.content
    (dropzone.exports / tmp).write_bytes(export.content)
    with connection.connector.open(connection.parse_config()) as session:
        ErpExport.objects.update(
            staged_path=session.staging_path(export.filename, "aaaaaaaa"),
            staged_at="2026-01-01T00:00Z",
            destination=session.destination().as_json(),
            attempts=1,
        )
    export.refresh_from_db()
    return export


def a_sent_export(dropzone: Dropzone, org: Org, ann: User) -> ErpExport:
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    assert deliver(connection.id).sent == 1
    export.refresh_from_db()
    return export


def test_a_person_confirms_a_delivery(dropzone: Dropzone, org: Org, ann: User) -> None:
    export = a_staged_export(dropzone, org, ann)
    ErpConnection.objects.update(ack_deadline=timedelta(hours=2))
    resolve(export.id, Resolution.DELIVERED, actor=ann, reason="Seen in the ERP")
    export.refresh_from_db()
    assert (export.status, export.sent_evidence) == ("SENT", Evidence.CONFIRMED)
    assert export.dropzone_path == f"{dropzone.config['export_path']}/{export.filename}"
    assert export.sent_at and export.ack_due_at == export.sent_at + timedelta(hours=2)
    assert export.draft_order.status == "PUSHED"
    event = export.events.last()
    assert event and (event.kind, event.actor, event.detail["reason"]) == (
        "RESOLVED",
        ann,
        "Seen in the ERP",
    )


def test_the_staged_file_of_a_confirmed_delivery_is_cleaned_up(
    dropzone: Dropzone, org: Org, ann: User
) -> None:
    export = a_staged_export(dropzone, org, ann)
    assert export.staged_path
    ErpExportEvent.objects.create(
        export=export, kind="STAGING", status="PENDING", detail={"tmp": export.staged_path}
    )
    resolve(export.id, Resolution.DELIVERED, actor=ann, reason="Printed and typed in")
    cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
    assert dropzone.leftovers() == []


def test_what_was_not_delivered_can_never_be(dropzone: Dropzone, org: Org, ann: User) -> None:
    export = a_staged_export(dropzone, org, ann)
    resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="Not in the ERP")
    export.refresh_from_db()
    assert export.status == "FAILED"
    assert export.error_json and export.error_json["code"] == "NOT_DELIVERED"
    assert export.draft_order.status == "ERROR"
    assert dropzone.leftovers() == [], "the staged file could still have become visible"
    assert deliver(export.erp_connection_id).sent == 0
    assert dropzone.files() == {}


def test_an_export_whose_file_is_there_is_not_resolved(
    dropzone: Dropzone, org: Org, ann: User
) -> None:
    export = a_staged_export(dropzone, org, ann)
    (staged,) = dropzone.exports.iterdir()
    staged.rename(dropzone.exports / export.filename)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?")
    assert refused.value.code == "LIES_THERE"
    assert deliver(export.erp_connection_id).sent == 1


@pytest.mark.parametrize("dropzone", ["openssh"], indirect=True)
def test_an_export_whose_folder_was_away_for_a_moment_is_not_resolved(
    dropzone: Dropzone, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = a_sent_export(dropzone, org, ann)
    away = dropzone.exports.rename(dropzone.exports.with_name("away"))
    lstat = SftpFolder.lstat

    def comes_back(folder: SftpFolder, paths: Sequence[str]) -> Any:
        found = lstat(folder, paths)
        if away.exists():
            away.rename(dropzone.exports)
        return found

    monkeypatch.setattr(SftpFolder, "lstat", comes_back)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.GIVEN_UP, actor=ann, reason="?")
    assert refused.value.code == "LIES_THERE"


def test_a_sent_export_is_given_up_and_pushed_again(
    dropzone: Dropzone, org: Org, ann: User
) -> None:
    export = a_sent_export(dropzone, org, ann)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.GIVEN_UP, actor=ann, reason="?", push_again=True)
    assert refused.value.code == "LIES_THERE"
    (dropzone.exports / export.filename).unlink()
    resolve(export.id, Resolution.GIVEN_UP, actor=ann, reason="ERP lost it", push_again=True)
    export.refresh_from_db()
    assert export.status == "FAILED"
    assert export.error_json and export.error_json["code"] == "GIVEN_UP"
    again = ErpExport.objects.get(status="PENDING")
    assert again.draft_order == export.draft_order
    assert again.filename != export.filename
    assert deliver(export.erp_connection_id).sent == 1


def test_a_sent_export_is_not_given_up_unseen(org: Org, ann: User, dropzone_root: Path) -> None:
    connection = a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    (export,) = some_exports(org, ann)
    deliver(connection.id)
    moved = dropzone_root.with_name(f"{dropzone_root.name}-moved")
    dropzone_root.rename(moved)
    try:
        with pytest.raises(RuleViolation) as refused:
            resolve(export.id, Resolution.GIVEN_UP, actor=ann, reason="?")
        assert refused.value.code == "NOT_REACHABLE"
    finally:
        moved.rename(dropzone_root)
    # The connection leads to another dropzone by now: there is nothing to look at.
    other = dropzone_root / "other"
    other.mkdir()
    connection.refresh_from_db()
    change_config(connection, {**masked_config(connection), "export_path": str(other)})
    resolve(export.id, Resolution.GIVEN_UP, actor=ann, reason="The old server is gone")
    assert ErpExport.objects.get(id=export.id).status == "FAILED"


def test_a_worker_is_not_overtaken(dropzone: Dropzone, org: Org, ann: User) -> None:
    export = a_staged_export(dropzone, org, ann)
    held = lease.acquire(export.erp_connection_id)
    assert held
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?")
    assert refused.value.code == "BUSY"
    held.release()
    resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?")


def test_a_person_whose_lease_ran_out_removes_nothing(
    dropzone: Dropzone, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dropzone answers so slowly that a worker takes the connection over."""
    export = a_staged_export(dropzone, org, ann)
    visible = DropzoneSession.visible
    workers: list[lease.Lease | None] = []

    def slow(session: DropzoneSession, filenames: Sequence[str]) -> Any:
        if not workers:
            ErpConnection.objects.update(lease_until=db_now() - timedelta(seconds=1))
            workers.append(lease.acquire(export.erp_connection_id))
        return visible(session, filenames)

    monkeypatch.setattr(DropzoneSession, "visible", slow)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?")
    assert refused.value.code == "NOT_RESOLVABLE"
    assert len(dropzone.leftovers()) == 1
    (worker,) = workers
    assert worker and worker.renew(), "the worker still has the connection"
    worker.release()
    assert deliver(export.erp_connection_id).sent == 1


def test_a_dropzone_that_is_gone_does_not_hold_an_order_for_ever(
    dropzone: Dropzone, org: Org, ann: User
) -> None:
    export = a_staged_export(dropzone, org, ann)
    pause_by_system(export.erp_connection, "AUTH_FAILED")
    resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="The server is gone")
    event = export.events.last()
    assert event and "not reached" in event.detail["dropzone"]
    assert len(dropzone.leftovers()) == 1


@pytest.mark.parametrize("outcome", Resolution)
def test_a_waiting_unstaged_export_is_not_resolved(
    org: Org, ann: User, dropzone_root: Path, outcome: Resolution
) -> None:
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    (export,) = some_exports(org, ann)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, outcome, actor=ann, reason="?")
    assert refused.value.code == "NOT_RESOLVABLE"


@pytest.mark.django_db(transaction=True)
def test_a_resolution_that_does_not_finish_loses_nothing(
    dropzone: Dropzone, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = a_staged_export(dropzone, org, ann)
    real = manual._fail

    def die(*args: Any, **detail: Any) -> None:
        if "dropzone" in detail:
            raise SystemExit
        real(*args, **detail)

    monkeypatch.setattr(manual, "_fail", die)
    with pytest.raises(SystemExit):
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="Not in the ERP")
    assert dropzone.leftovers() == []
    assert deliver(export.erp_connection_id).sent == 0
    export.refresh_from_db()
    assert export.status == "PENDING", "its staged file is gone, but nobody has taken it"
    monkeypatch.undo()
    resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="Not in the ERP")


def test_a_push_that_would_be_refused_is_refused_before_anything_is_touched(
    dropzone: Dropzone, org: Org, ann: User
) -> None:
    export = a_staged_export(dropzone, org, ann)
    ErpConnection.objects.update(active=False)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?", push_again=True)
    assert refused.value.code == "NO_CONNECTION"
    assert len(dropzone.leftovers()) == 1
    assert deliver(export.erp_connection_id).sent == 1


def test_an_export_that_somebody_lets_be_tried_again_is_not_taken_for_delivered(
    org: Org, ann: User, dropzone_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root / "exports")})
    (export,) = some_exports(org, ann)
    ErpExport.objects.update(next_attempt_at=None)
    confirm = manual._confirm

    def confirm_too_late(*args: Any, **kwargs: Any) -> None:
        deliver_again(export.id, actor=ann)
        confirm(*args, **kwargs)

    monkeypatch.setattr(manual, "_confirm", confirm_too_late)
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.DELIVERED, actor=ann, reason="?")
    assert refused.value.code == "NOT_RESOLVABLE"
    assert "in the meantime" in refused.value.message
    export.refresh_from_db()
    assert export.status == ErpExport.Status.PENDING


def test_a_worker_that_was_quicker_is_seen(
    dropzone: Dropzone, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = a_staged_export(dropzone, org, ann)
    (staged,) = dropzone.exports.iterdir()
    monkeypatch.setattr(
        manual, "failpoint", lambda name: staged.rename(dropzone.exports / export.filename)
    )
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="?", push_again=True)
    assert refused.value.code == "LIES_THERE"
    assert deliver(export.erp_connection_id).sent == 1
