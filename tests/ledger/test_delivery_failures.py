"""Errors of a delivery: they pause the connection, wait, or fail one export, and lose none."""

import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.test import override_settings

from accounts.models import Org, User
from connectors import circuit_breaker, configuring
from connectors.dropzone.session import DropzoneSession
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Delivery
from exports.delivery import cleanup
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from orders.models import DraftOrder
from tests.support.builders import a_connection, an_org, some_exports
from tests.support.deliveries import code, make_due, payloads, reloaded
from tests.support.dropzones import KINDS, Dropzone, asyncssh_config, openssh_config
from tests.support.servers import AsyncSSHServer, OpenSSHServer, TcpProxy
from tests.support.servers.keys import new_key

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.dropzones(*KINDS)]


def test_a_missing_folder_pauses_and_a_passing_test_resumes(
    org: Org, ann: User, dropzone: Dropzone
) -> None:
    connection = a_connection(org, dropzone.config)
    exports = some_exports(org, ann, 3)
    dropzone.exports.rmdir()
    deliver(connection.id)
    connection.refresh_from_db()
    assert connection.pause_code == "DIR_MISSING"
    assert {code(e) for e in exports} == {"DIR_MISSING"}
    error = reloaded(exports[0]).error_json
    assert error and dropzone.config["export_path"] in error["message"]
    assert deliver(connection.id).sent == 0
    assert not circuit_breaker.run_test(connection).success
    dropzone.exports.mkdir()
    assert circuit_breaker.run_test(connection).success
    connection.refresh_from_db()
    assert not connection.is_paused
    assert deliver(connection.id).sent == 3
    assert dropzone.files() == payloads(exports)


def test_a_mended_folder_is_found_without_a_person(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    some_exports(org, ann)
    mounted_folder.exports.rmdir()
    deliver(connection.id)
    mounted_folder.exports.mkdir()
    # Not at once: nothing has changed for a while.
    assert circuit_breaker.retest_due() == 0
    long_ago = db_now() - timedelta(minutes=16)
    ErpConnection.objects.update(paused_at=long_ago)
    assert circuit_breaker.retest_due() == 1
    assert deliver(connection.id).sent == 1


@pytest.mark.parametrize("reason", ["AUTH_FAILED", "HOST_KEY_CHANGED", "NEVER_TESTED"])
def test_what_may_lock_an_account_is_never_retested(
    org: Org, mounted_folder: Dropzone, reason: str
) -> None:
    a_connection(org, mounted_folder.config, paused=True)
    long_ago = db_now() - timedelta(days=1)
    ErpConnection.objects.update(pause_code=reason, paused_at=long_ago)
    assert circuit_breaker.retest_due() == 0


def test_a_passing_test_does_not_lift_a_persons_pause(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    some_exports(org, ann)
    circuit_breaker.pause(connection.id, reason="stock-taking", actor=ann)
    assert circuit_breaker.run_test(connection).success
    assert deliver(connection.id).sent == 0
    circuit_breaker.resume(connection.id)
    assert deliver(connection.id).sent == 1


def test_a_new_connection_waits_for_its_first_test(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config, paused=True)
    assert connection.pause_code == "NEVER_TESTED"
    some_exports(org, ann)
    assert deliver(connection.id).sent == 0
    circuit_breaker.run_test(connection)
    assert deliver(connection.id).sent == 1


def test_a_failed_poll_does_not_end_the_wait_for_a_test(org: Org, mounted_folder: Dropzone) -> None:
    connection = a_connection(org, mounted_folder.config, paused=True)
    ErpConnection.objects.update(last_test_success=False)
    circuit_breaker.record_failure(connection, ConnectorError("AUTH_FAILED"))
    connection.refresh_from_db()
    assert connection.pause_code == "NEVER_TESTED"
    assert not circuit_breaker.may_read(connection)


def test_a_wrong_password_pauses_and_its_correction_resumes(
    org: Org, ann: User, asyncssh_server: AsyncSSHServer
) -> None:
    connection = a_connection(org, asyncssh_config(asyncssh_server, password="canary-4711"))
    (export,) = some_exports(org, ann)
    deliver(connection.id)
    connection.refresh_from_db()
    assert connection.pause_code == code(export) == "AUTH_FAILED"
    assert "canary-4711" not in str(reloaded(export).error_json) + str(connection.last_error)
    configuring.change_config(connection, asyncssh_config(asyncssh_server))
    assert circuit_breaker.run_test(connection).success
    assert deliver(connection.id).sent == 1


def test_an_unreachable_server_is_tried_later_and_one_export_goes_ahead(
    org: Org, ann: User, asyncssh_server: AsyncSSHServer
) -> None:
    with TcpProxy(asyncssh_server.host, asyncssh_server.port) as proxy:
        connection = a_connection(org, asyncssh_config(asyncssh_server, port=proxy.port))
        exports = some_exports(org, ann, 3)
        proxy.refuse()
        assert deliver(connection.id).errors == {"CONNECT_REFUSED": 1}
        connection.refresh_from_db()
        assert connection.failures == 1 and not connection.is_paused
        assert connection.retry_at and connection.retry_at > db_now()
        assert {code(e) for e in exports} == {"CONNECT_REFUSED"}
        # Nothing is tried before its time.
        assert deliver(connection.id).errors == {}
        proxy.resume()
        make_due()
        with mock.patch.object(
            DropzoneSession, "stage", autospec=True, side_effect=DropzoneSession.stage
        ) as stage:
            assert deliver(connection.id).sent == 3
        assert [len(call.args[1]) for call in stage.call_args_list] == [1, 2]
        connection.refresh_from_db()
        assert (connection.failures, connection.last_error) == (0, None)
        assert {code(e) for e in exports} == {None}


def test_a_full_disk_delays_one_file_only(
    org: Org, ann: User, asyncssh_server: AsyncSSHServer
) -> None:
    with AsyncSSHServer() as server:
        connection = a_connection(org, asyncssh_config(server))
        exports = some_exports(org, ann, 3)
        server.faults.disk_full_after = 10
        server.faults.only = exports[1].filename
        summary = deliver(connection.id)
        assert (summary.sent, dict(summary.errors)) == (2, {"REMOTE_FAILURE": 1})
        waiting = reloaded(exports[1])
        assert waiting.status == "PENDING" and waiting.attempts == 1
        assert waiting.next_attempt_at and waiting.next_attempt_at > db_now()
        assert waiting.error_json and waiting.error_json["attempt"] == 1
        server.faults.disk_full_after = None
        make_due()
        assert deliver(connection.id).sent == 1
        names = {p.name for p in (server.root / "exports").iterdir()}
        assert names == {e.filename for e in exports}


def test_a_read_only_server_pauses_until_it_is_mended(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with OpenSSHServer(sftp_server_args=["-R"]) as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        deliver(connection.id)
        connection.refresh_from_db()
        assert connection.pause_code == code(export) == "PERMISSION"
        server.restart(sftp_server_args=[])
        assert circuit_breaker.run_test(connection).success
        assert deliver(connection.id).sent == 1


def test_a_changed_host_key_pauses_until_the_new_one_is_pinned(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with OpenSSHServer() as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        server.restart(host_keys=[new_key()])
        deliver(connection.id)
        connection.refresh_from_db()
        assert connection.pause_code == code(export) == "HOST_KEY_CHANGED"
        assert not circuit_breaker.run_test(connection).success
        connection.refresh_from_db()
        configuring.pin_host_key(connection, connection.host_key_seen)
        assert circuit_breaker.run_test(connection).success
        assert deliver(connection.id).sent == 1


@pytest.fixture
def tiny_disk(dropzone_root: Path) -> Iterator[Path]:
    """A folder on a file system of 64 KB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tiny", str(dropzone_root)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a tiny disk")
    yield dropzone_root
    subprocess.run(["umount", str(dropzone_root)], check=True)


@pytest.mark.parametrize("kind", ["filesystem", "openssh"])
def test_a_full_disk_says_so_and_loses_nothing(
    org: Org, ann: User, openssh: OpenSSHServer, tiny_disk: Path, kind: str
) -> None:
    (tiny_disk / "exports").mkdir()
    path = {"export_path": str(tiny_disk / "exports")}
    config = openssh_config(openssh, **path) if kind == "openssh" else {"mode": kind, **path}
    connection = a_connection(org, config)
    (export,) = some_exports(org, ann, lines=200)
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 60_000)
    assert deliver(connection.id).errors == {"NO_SPACE": 1}
    assert code(export) == "NO_SPACE"
    assert list((tiny_disk / "exports").iterdir()) == []
    ballast.unlink()
    make_due()
    assert deliver(connection.id).sent == 1
    assert (tiny_disk / "exports" / export.filename).read_bytes() == export.content


def test_an_unreadable_config_pauses(org: Org, ann: User, mounted_folder: Dropzone) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    other = a_connection(an_org("other"), mounted_folder.config)
    ErpConnection.objects.filter(id=connection.id).update(config_encrypted=other.config_encrypted)
    deliver(connection.id)
    connection.refresh_from_db()
    assert connection.pause_code == code(export) == "CONFIG_UNREADABLE"


def test_a_defect_of_ours_neither_loses_nor_hammers(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    with mock.patch.object(DropzoneSession, "stage", autospec=True, side_effect=KeyError("x")):
        deliver(connection.id)
    assert code(export) == "INTERNAL"
    connection.refresh_from_db()
    assert connection.retry_at and connection.retry_at > db_now()
    make_due()
    assert deliver(connection.id).sent == 1


@override_settings(EXPORT_GIVE_UP_HOURS=0)
def test_what_waits_too_long_is_given_up_unless_staged(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    staged, unstaged = some_exports(org, ann, 2)
    ErpExport.objects.filter(id=staged.id).update(
        staged_path="/x.tmp", staged_at=db_now(), destination={}
    )
    assert cleanup.give_up() == 0
    ErpConnection.objects.update(failures=3, failing_since=db_now())
    assert cleanup.give_up() == 1
    assert [reloaded(e).status for e in (staged, unstaged)] == ["PENDING", "FAILED"]
    failed = reloaded(unstaged)
    assert failed.draft_order.status == DraftOrder.Status.ERROR
    assert failed.error_json and failed.error_json["code"] == "GIVEN_UP"
    assert failed.events.last().detail == failed.error_json
    assert connection


@override_settings(EXPORT_GIVE_UP_HOURS=1)
@pytest.mark.parametrize(
    ("hours", "expected"), [(0.5, "PENDING"), (2, "FAILED")], ids=["so far", "too long"]
)
def test_an_export_fails_once_its_file_was_refused_for_too_long(
    org: Org, ann: User, mounted_folder: Dropzone, hours: float, expected: str
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    with mock.patch.object(
        DropzoneSession, "stage", lambda _, files: [ConnectorError("NO_SPACE") for _ in files]
    ):
        deliver(connection.id)
        ErpExport.objects.update(created_at=db_now() - timedelta(hours=3))
        export.events.update(at=db_now() - timedelta(hours=hours))
        make_due()
        deliver(connection.id)
    assert reloaded(export).status == expected


def test_an_export_that_breaks_the_connection_does_not_block_the_others(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    exports = some_exports(org, ann, 5)
    original = DropzoneSession.stage

    def stage(self: DropzoneSession, deliveries: Sequence[Delivery]) -> Any:
        if any(d.filename == exports[0].filename for d in deliveries):
            raise ConnectorError("CONNECTION_LOST")
        return original(self, deliveries)

    with mock.patch.object(DropzoneSession, "stage", stage):
        for _ in range(12):
            ErpConnection.objects.update(retry_at=None)
            deliver(connection.id)
    assert [reloaded(e).status for e in exports] == ["PENDING"] + ["SENT"] * 4


@override_settings(EXPORT_GIVE_UP_HOURS=1)
def test_waiting_for_a_paused_connection_is_no_failure(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    some_exports(org, ann)
    ErpExport.objects.update(created_at=db_now() - timedelta(hours=2))
    circuit_breaker.record_failure(connection, ConnectorError("CONNECT_REFUSED"))
    assert cleanup.give_up() == 0
    ErpConnection.objects.update(failing_since=db_now() - timedelta(hours=2))
    assert cleanup.give_up() == 1


def test_an_error_of_a_replaced_config_does_not_pause_the_new_one(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    stale = ErpConnection.objects.get()
    configuring.change_config(connection, {**mounted_folder.config, "file_mode": "0640"})
    circuit_breaker.record_failure(stale, ConnectorError("AUTH_FAILED"))
    connection.refresh_from_db()
    assert not connection.is_paused
