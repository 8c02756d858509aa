"""The delivery protocol: each export becomes visible once, whatever happens on the way."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.db import connection as database
from django.db.models.expressions import RawSQL

from accounts.models import Org, User
from connectors import circuit_breaker, configuring
from connectors.dropzone.session import DropzoneSession
from connectors.dropzone.sftp.pipeline import Pipeline
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connections import change_config
from exports.delivery import cleanup, protocol
from exports.delivery.protocol import deliver
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.push import cancel_export
from kernel.errors import RuleViolation
from orders.models import DraftOrder
from tests.support.builders import a_connection, some_exports
from tests.support.deliveries import Crash, crash_after, kinds, make_due, payloads, reloaded
from tests.support.dropzones import KINDS, Dropzone, openssh_config
from tests.support.servers import OpenSSHServer

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.dropzones(*KINDS)]


def test_exports_arrive_whole_and_once(org: Org, ann: User, dropzone: Dropzone) -> None:
    connection = a_connection(org, dropzone.config)
    exports = some_exports(org, ann, 5)
    assert deliver(connection.id).sent == 5
    assert dropzone.files() == payloads(exports)
    assert dropzone.leftovers() == []
    export = reloaded(exports[0])
    assert export.status == ErpExport.Status.SENT
    assert export.sent_evidence == "OBSERVED"
    assert export.dropzone_path == f"{dropzone.config['export_path']}/{export.filename}"
    assert export.draft_order.status == DraftOrder.Status.PUSHED
    assert export.destination and "password" not in export.destination
    assert kinds(export) == ["CREATED", "STAGING", "STAGED", "SENT"]
    assert deliver(connection.id).sent == 0


@pytest.mark.parametrize("step", ["noted", "staged", "claimed", "published", "recorded"])
def test_a_crash_between_two_steps(org: Org, ann: User, dropzone: Dropzone, step: str) -> None:
    connection = a_connection(org, dropzone.config)
    exports = some_exports(org, ann, 3)
    with crash_after(step):
        deliver(connection.id)
    is_recorded = step == "recorded"
    assert {reloaded(e).status for e in exports} == {"SENT" if is_recorded else "PENDING"}
    deliver(connection.id)
    assert dropzone.files() == payloads(exports)
    assert {reloaded(e).status for e in exports} == {"SENT"}
    cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
    assert dropzone.leftovers() == []


@pytest.mark.parametrize("step", ["claimed", "published"])
def test_an_erp_that_takes_files_at_once(
    org: Org, ann: User, dropzone: Dropzone, step: str
) -> None:
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    with crash_after(step):
        deliver(connection.id)
    # The ERP has taken whatever there was to take.
    taken = dropzone.files()
    for name in taken:
        (dropzone.exports / name).unlink()
    deliver(connection.id)
    assert {**taken, **dropzone.files()} == payloads([export])
    expected = "INFERRED" if step == "published" else "OBSERVED"
    assert reloaded(export).sent_evidence == expected


def test_another_worker_claims(org: Org, ann: User, dropzone: Dropzone) -> None:
    """The other worker makes all of its moves between this one's staging and its claim."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    original = protocol.failpoint
    moves = iter(["other"])

    def other_worker(name: str) -> None:
        if name == "staged" and next(moves, None):
            ErpConnection.objects.update(lease_until=None)
            assert deliver(connection.id).sent == 1

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=other_worker):
        deliver(connection.id)
    assert protocol.failpoint is original
    assert dropzone.files() == payloads([export])
    assert dropzone.leftovers() == []
    assert reloaded(export).status == "SENT"


def test_the_loser_of_a_claim_publishes_nothing(org: Org, ann: User, dropzone: Dropzone) -> None:
    """The other worker claims and dies: its file, and no other, may ever become visible."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    moves = iter(["other"])
    claimed: list[str | None] = []

    def other_worker(name: str) -> None:
        if name == "staged" and next(moves, None):
            ErpConnection.objects.update(lease_until=None)
            dies = mock.patch.object(DropzoneSession, "publish", autospec=True, side_effect=Crash)
            with dies, pytest.raises(Crash):
                deliver(connection.id)
            claimed.append(reloaded(export).staged_path)

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=other_worker):
        deliver(connection.id)
    assert reloaded(export).staged_path == claimed[0]
    assert kinds(export).count("STAGED") == 1
    make_due()
    deliver(connection.id)
    assert dropzone.files() == payloads([export])
    assert dropzone.leftovers() == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_exports(org: Org, ann: User, mounted_folder: Dropzone) -> None:
    connection = a_connection(org, mounted_folder.config)
    exports = some_exports(org, ann, 20)
    barrier = threading.Barrier(2, timeout=10)

    def meet(name: str) -> None:
        # The lease keeps workers apart; here it has run out for both.
        if name == "noted":
            barrier.wait()

    def work() -> None:
        try:
            deliver(connection.id)
        finally:
            database.close()

    with (
        mock.patch.object(protocol, "failpoint", side_effect=meet),
        mock.patch("connectors.lease.DURATION", cleanup.MINIMUM_AGE * -1),
    ):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    deliver(connection.id)
    assert mounted_folder.files() == payloads(exports)
    assert mounted_folder.leftovers() == []
    assert {reloaded(e).status for e in exports} == {"SENT"}
    assert all(kinds(e).count("SENT") == 1 for e in exports)


def test_one_worker_at_a_time(org: Org, ann: User, mounted_folder: Dropzone) -> None:
    connection = a_connection(org, mounted_folder.config)
    some_exports(org, ann)
    from connectors import lease

    held = lease.acquire(connection.id)
    assert held and deliver(connection.id).is_busy
    held.release()
    assert deliver(connection.id).sent == 1


def test_no_transaction_is_open_while_files_move(
    org: Org, ann: User, mounted_folder: Dropzone, request: Any
) -> None:
    def outside(method: Callable[..., Any]) -> Callable[..., Any]:
        # One level is the test's own.
        def checked(*args: Any, **kwargs: Any) -> Any:
            assert len(database.savepoint_ids) == 0
            return method(*args, **kwargs)

        return checked

    connection = a_connection(org, mounted_folder.config)
    some_exports(org, ann, 2)
    names = ("stage", "publish", "discard", "destination")
    with mock.patch.multiple(
        DropzoneSession, **{name: outside(getattr(DropzoneSession, name)) for name in names}
    ):
        assert deliver(connection.id).sent == 2


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_server_is_asked(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    connection = a_connection(org, openssh_config(openssh))
    exports = some_exports(org, ann, 2)
    asked = Counter[bool]()
    burst = Pipeline.burst

    def ask(*args: Any, **kwargs: Any) -> Any:
        asked[database.in_atomic_block] += 1
        return burst(*args, **kwargs)

    with mock.patch.object(Pipeline, "burst", ask):
        with crash_after("staged"):
            deliver(connection.id)
        assert deliver(connection.id).sent == len(exports)
        assert cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE) == len(exports)
        assert circuit_breaker.run_test(connection).success
    assert set(asked) == {False}


@pytest.mark.parametrize(("step", "is_cancelled"), [("staged", True), ("claimed", False)])
def test_a_cancellation_counts_until_the_claim(
    org: Org, ann: User, dropzone: Dropzone, step: str, is_cancelled: bool
) -> None:
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    refused: list[str] = []

    def cancel(name: str) -> None:
        if name == step:
            try:
                cancel_export(export.id, actor=ann)
            except RuleViolation as e:
                refused.append(e.code)

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=cancel):
        deliver(connection.id)
    assert refused == ["NOT_CANCELLABLE"] * (not is_cancelled)
    assert dropzone.files() == ({} if is_cancelled else payloads([export]))
    assert dropzone.leftovers() == []
    assert reloaded(export).status == ("FAILED" if is_cancelled else "SENT")


def test_the_dropzone_of_staged_exports_is_locked(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    with crash_after("claimed"):
        deliver(connection.id)
    moved = {**mounted_folder.config, "export_path": str(mounted_folder.acks)}
    with pytest.raises(ConfigError) as raised:
        change_config(connection, moved)
    assert export.filename in raised.value.errors["export_path"]
    # An unreadable configuration can be entered again, but only for the same dropzone.
    ErpConnection.objects.update(config_encrypted=RawSQL("'garbage'", []))
    with pytest.raises(ConfigError):
        change_config(connection, moved)
    change_config(connection, mounted_folder.config)
    assert circuit_breaker.run_test(connection).success
    assert deliver(connection.id).sent == 1
    change_config(connection, moved)
    connection.refresh_from_db()
    assert connection.pause_code == "NEVER_TESTED"


def test_a_config_that_changed_meanwhile_claims_nothing(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)

    moved = {**mounted_folder.config, "export_path": str(mounted_folder.acks)}

    def change(name: str) -> None:
        if name == "staged":
            configuring.change_config(connection, moved)
            # A passing test lifts the pause, so the worker finds the connection free to deliver.
            assert circuit_breaker.run_test(connection).success

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=change):
        assert deliver(connection.id).sent == 0
    assert list(mounted_folder.exports.iterdir()) == []
    assert deliver(connection.id).sent == 1
    assert [p.name for p in mounted_folder.acks.iterdir()] == [export.filename]


def test_events_replay_to_the_present_state(org: Org, ann: User, mounted_folder: Dropzone) -> None:
    connection = a_connection(org, mounted_folder.config)
    exports = some_exports(org, ann, 2)
    with crash_after("claimed"):
        deliver(connection.id)
    deliver(connection.id)
    for export in exports:
        last = export.events.last()
        assert last and last.status == reloaded(export).status


def test_events_are_ordered_and_name_the_staging_file(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    deliver(connection.id)
    staging = export.events.get(kind=ErpExportEvent.Kind.STAGING)
    assert staging.detail["tmp"].startswith(
        f"{mounted_folder.config['export_path']}/{export.filename}."
    )
