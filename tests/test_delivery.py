"""The delivery protocol: each export becomes visible once, whatever happens on the way."""

import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import connection as database
from django.db.models.expressions import RawSQL
from django.test import override_settings

from accounts.models import Org, User
from connectors import circuit_breaker, configuring
from connectors.dropzone.filesystem import FilesystemFolder
from connectors.dropzone.session import DropzoneSession
from connectors.dropzone.sftp.folder import SftpFolder
from connectors.dropzone.sftp.pipeline import Pipeline
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import ConfigError, Delivery
from exports.connections import change_config
from exports.delivery import cleanup, protocol
from exports.delivery.protocol import deliver
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.push import cancel_export, deliver_again
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders.models import DraftOrder
from tests.builders import a_connection, an_org, some_exports
from tests.dropzones import KINDS, Dropzone, asyncssh_config, openssh_config
from tests.servers import AsyncSSHServer, OpenSSHServer, TcpProxy
from tests.servers.keys import new_key

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.dropzones(*KINDS)]


def payloads(exports: list[ErpExport]) -> dict[str, bytes | None]:
    return {export.filename: export.content for export in exports}


def reloaded(export: ErpExport) -> ErpExport:
    return ErpExport.objects.select_related("draft_order").get(id=export.id)


def kinds(export: ErpExport) -> list[str]:
    return [event.kind for event in export.events.all()]


def code(export: ErpExport) -> str | None:
    error = reloaded(export).error_json
    return error and error["code"]


def make_due() -> None:
    ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
    ErpConnection.objects.update(retry_at=None)


class Crash(BaseException):
    """Passes by every handler, as a SIGKILL does."""


@contextmanager
def crash_after(step: str) -> Iterator[None]:
    """Let the delivery die at a step of the protocol."""

    def die(name: str) -> None:
        if name == step:
            raise Crash(name)

    with (
        mock.patch.object(protocol, "failpoint", autospec=True, side_effect=die),
        pytest.raises(Crash),
    ):
        yield


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


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_to_the_rename(org: Org, ann: User, when: Any, request: Any) -> None:
    request.getfixturevalue("asyncssh_server")
    with AsyncSSHServer() as server:
        connection = a_connection(org, asyncssh_config(server))
        (export,) = some_exports(org, ann)
        server.faults.drop_at_rename = when
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        assert reloaded(export).status == "PENDING"
        make_due()
        assert deliver(connection.id).sent == 1
        names = [p.name for p in (server.root / "exports").iterdir()]
        assert names == [export.filename]


def test_both_names_with_the_same_bytes(org: Org, ann: User, dropzone: Dropzone) -> None:
    """A server that renames by link and unlink died in between."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    with crash_after("claimed"):
        deliver(connection.id)
    (tmp,) = dropzone.leftovers()
    shutil.copy(dropzone.exports / tmp, dropzone.exports / export.filename)
    assert deliver(connection.id).sent == 1
    assert dropzone.files() == payloads([export])
    cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
    assert dropzone.leftovers() == []
    assert dropzone.files() == payloads([export])


def test_somebody_elses_file_is_not_overwritten(org: Org, ann: User, dropzone: Dropzone) -> None:
    connection = a_connection(org, dropzone.config)
    unstaged, staged = some_exports(org, ann, 2)
    foreign = dropzone.exports / unstaged.filename
    foreign.write_text("not ours")
    with crash_after("claimed"):
        deliver(connection.id)
    (dropzone.exports / staged.filename).write_text("nor this")
    deliver(connection.id)
    assert dropzone.files() == {unstaged.filename: b"not ours", staged.filename: b"nor this"}
    assert [code(unstaged), code(staged)] == ["NAME_CONFLICT", "NAME_CONFLICT"]
    # A person decides: nothing is tried again by itself.
    assert deliver(connection.id).errors == {}
    foreign.unlink()
    deliver_again(unstaged.id, actor=ann)
    assert deliver(connection.id).sent == 1
    event = unstaged.events.get(kind=ErpExportEvent.Kind.REQUESTED)
    assert event.actor == ann
    with pytest.raises(RuleViolation) as raised:
        deliver_again(unstaged.id, actor=ann)
    assert raised.value.code == "NOT_WAITING"


def test_a_folder_that_vanished_is_no_evidence(org: Org, ann: User, dropzone: Dropzone) -> None:
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    with crash_after("claimed"):
        deliver(connection.id)
    shutil.rmtree(dropzone.exports)
    assert deliver(connection.id).sent == 0
    assert code(export) == "FOLDER_CHANGED"
    # It comes back empty, after another error: still nobody knows.
    ErpExport.objects.update(error_json={"code": "CONNECT_REFUSED"})
    dropzone.exports.mkdir()
    make_due()
    assert deliver(connection.id).sent == 0
    assert code(export) == "FOLDER_CHANGED"
    assert reloaded(export).status == "PENDING"


@pytest.mark.parametrize("seen_by", ["test", "delivery of another export"])
def test_a_folder_that_anybody_saw_missing_is_no_evidence(
    org: Org, ann: User, dropzone: Dropzone, seen_by: str
) -> None:
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    with crash_after("claimed"):
        deliver(connection.id)
    ErpExport.objects.update(next_attempt_at=db_now() + timedelta(hours=1))
    shutil.rmtree(dropzone.exports)
    if seen_by == "test":
        assert not circuit_breaker.run_test(connection).success
    else:
        some_exports(org, ann, first=1)
        deliver(connection.id)
    dropzone.exports.mkdir()
    circuit_breaker.resume(connection.id)
    ErpExport.objects.update(next_attempt_at=db_now())
    deliver(connection.id)
    assert (reloaded(export).status, code(export)) == ("PENDING", "FOLDER_CHANGED")


@pytest.mark.parametrize("dropzone", ["openssh", "asyncssh"], indirect=True)
def test_a_folder_that_was_away_for_a_moment_is_no_evidence(
    org: Org, ann: User, dropzone: Dropzone
) -> None:
    """A mount that goes before the rename and is back after the look, with all that lay there."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    away = dropzone.exports.with_name("away")
    rename, lstat = SftpFolder.rename, SftpFolder.lstat
    looks: list[Any] = []

    def goes(here: SftpFolder, moves: Sequence[tuple[str, str]]) -> Any:
        dropzone.exports.rename(away)
        return rename(here, moves)

    def comes_back(here: SftpFolder, paths: Sequence[str]) -> Any:
        found = lstat(here, paths)
        if paths and away.exists():
            looks.append(found)
            if len(looks) == 2:
                away.rename(dropzone.exports)
        return found

    with (
        mock.patch.object(SftpFolder, "rename", autospec=True, side_effect=goes),
        mock.patch.object(SftpFolder, "lstat", autospec=True, side_effect=comes_back),
    ):
        assert deliver(connection.id).errors == {"FOLDER_CHANGED": 1}
    assert looks == [[None], [None]]
    make_due()
    assert deliver(connection.id).sent == 1
    assert reloaded(export).sent_evidence == "OBSERVED"
    assert dropzone.files() == payloads([export])


def test_a_file_that_is_renamed_between_the_looks_at_its_names_is_seen(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)
    with crash_after("claimed"):
        deliver(connection.id)
    (staged,) = mounted_folder.exports.iterdir()
    lstat = FilesystemFolder.lstat

    def overtaken(here: FilesystemFolder, paths: Sequence[str]) -> Any:
        found = lstat(here, paths)
        if staged.exists():
            staged.rename(mounted_folder.exports / export.filename)
        return found

    with mock.patch.object(FilesystemFolder, "lstat", overtaken):
        assert deliver(connection.id).sent == 1
    assert reloaded(export).sent_evidence == "OBSERVED"


def test_the_cleanup_waits_for_a_folder_that_is_away(
    org: Org, ann: User, dropzone: Dropzone
) -> None:
    connection = a_connection(org, dropzone.config)
    exports = some_exports(org, ann)
    with crash_after("staged"):
        deliver(connection.id)
    assert deliver(connection.id).sent == 1
    assert len(dropzone.leftovers()) == 1
    away = dropzone.exports.rename(dropzone.exports.with_name("away"))
    assert cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE) == 0
    away.rename(dropzone.exports)
    assert cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE) == 1
    assert dropzone.files() == payloads(exports)
    assert dropzone.leftovers() == []


def test_a_staging_folder_that_vanished_is_no_evidence(
    org: Org, ann: User, dropzone: Dropzone
) -> None:
    (dropzone.exports.parent / "staging").mkdir()
    staging = dropzone.config["export_path"].removesuffix("exports") + "staging"
    connection = a_connection(org, {**dropzone.config, "tmp_path": staging})
    first, second = some_exports(org, ann, 2)
    ErpExport.objects.filter(id=second.id).update(next_attempt_at=None)
    assert deliver(connection.id).sent == 1
    make_due()
    with crash_after("claimed"):
        deliver(connection.id)
    assert dropzone.files() == payloads([first])
    assert dropzone.leftovers() == []
    shutil.rmtree(dropzone.exports.parent / "staging")
    deliver(connection.id)
    assert (reloaded(second).status, code(second)) == ("PENDING", "FOLDER_CHANGED")


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


def test_a_folder_that_was_replaced_in_the_same_run_is_no_evidence(
    org: Org, ann: User, mounted_folder: Dropzone
) -> None:
    connection = a_connection(org, mounted_folder.config)
    (export,) = some_exports(org, ann)

    def replace(name: str) -> None:
        if name == "claimed":
            shutil.rmtree(mounted_folder.exports)
            mounted_folder.exports.mkdir()

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=replace):
        assert deliver(connection.id).sent == 0
    assert code(export) == "FOLDER_CHANGED"


def test_a_server_with_a_new_key_is_no_evidence(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with OpenSSHServer() as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        with crash_after("claimed"):
            deliver(connection.id)
        for path in (server.root / "exports").iterdir():
            path.unlink()
        server.restart(host_keys=[new_key()])
        config = openssh_config(server)
        change_config(connection, config)
        circuit_breaker.resume(connection.id)
        assert deliver(connection.id).sent == 0
        assert code(export) == "FOLDER_CHANGED"


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


@pytest.mark.parametrize("was_staged", [False, True])
def test_a_restored_database_overwrites_nothing(
    org: Org, ann: User, dropzone: Dropzone, was_staged: bool
) -> None:
    """What was sent after the backup is PENDING again, with the same name and bytes."""
    connection = a_connection(org, dropzone.config)
    (export,) = some_exports(org, ann)
    assert deliver(connection.id).sent == 1
    unstaged = {"staged_path": None, "staged_at": None, "destination": None}
    ErpExport.objects.update(
        status="PENDING", sent_evidence="", sent_at=None, **({} if was_staged else unstaged)
    )
    make_due()
    deliver(connection.id)
    assert dropzone.files() == payloads([export])
    assert code(export) == (None if was_staged else "NAME_CONFLICT")


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


# atomic_write: false


@pytest.fixture
def direct(dropzone: Dropzone) -> Dropzone:
    return Dropzone(
        config={**dropzone.config, "atomic_write": False},
        exports=dropzone.exports,
        acks=dropzone.acks,
    )


def test_without_atomic_write_files_arrive_too(org: Org, ann: User, direct: Dropzone) -> None:
    connection = a_connection(org, direct.config)
    exports = some_exports(org, ann, 3)
    assert deliver(connection.id).sent == 3
    assert direct.files() == payloads(exports)
    cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
    assert direct.files() == payloads(exports)


def test_without_atomic_write_a_crash_may_need_a_person(
    org: Org, ann: User, direct: Dropzone
) -> None:
    connection = a_connection(org, direct.config)
    complete, partial = some_exports(org, ann, 2)
    with crash_after("claimed"):
        deliver(connection.id)
    assert complete.content and partial.content
    (direct.exports / complete.filename).write_bytes(complete.content)
    (direct.exports / partial.filename).write_bytes(partial.content[:10])
    deliver(connection.id)
    assert reloaded(complete).status == "SENT"
    assert (reloaded(partial).status, code(partial)) == ("PENDING", "OUTCOME_UNKNOWN")
    assert reloaded(partial).next_attempt_at is None
    assert direct.files()[partial.filename] == partial.content[:10]


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
