"""What the dropzone shows after a crash, and what is no evidence of it."""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from accounts.models import Org, User
from connectors import circuit_breaker
from connectors.dropzone.filesystem import FilesystemFolder
from connectors.dropzone.sftp.folder import SftpFolder
from exports.connections import change_config
from exports.delivery import cleanup, protocol
from exports.delivery.protocol import deliver
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.push import deliver_again
from kernel.db import db_now
from kernel.errors import RuleViolation
from tests.support.builders import a_connection, some_exports
from tests.support.deliveries import code, crash_after, make_due, payloads, reloaded
from tests.support.dropzones import KINDS, Dropzone, asyncssh_config, openssh_config
from tests.support.servers import AsyncSSHServer, OpenSSHServer
from tests.support.servers.keys import new_key

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.dropzones(*KINDS)]


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
    # It comes back empty, after another error: still it is not known.
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
