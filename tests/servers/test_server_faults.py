"""Delivery to servers and disks that fail, hang or die in the middle of a request."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from accounts.models import Org, User
from connectors.dropzone.connector import DropzoneJsonV1Connector, _open_folder
from connectors.models import ErpConnection
from exports.delivery import cleanup, protocol
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, some_exports
from tests.support.dropzones import asyncssh_config, openssh_config
from tests.support.processes import ROOT
from tests.support.servers import AsyncSSHServer, OpenSSHServer, TcpProxy
from tests.support.waiting import until

pytestmark = pytest.mark.django_db
connector = DropzoneJsonV1Connector()
breakable = pytest.mark.usefixtures("breakable")


def make_due() -> None:
    ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
    ErpConnection.objects.update(retry_at=None)


def names(server: OpenSSHServer) -> list[str]:
    return sorted(path.name for path in (server.root / "exports").iterdir())


@breakable
def test_a_server_that_hangs_between_link_and_unlink_keeps_the_file(org: Org, ann: User) -> None:
    """A worker that resumes meanwhile must leave the staged name to the server's own unlink."""
    with OpenSSHServer(
        sftp_server_args=["-P", "posix-rename"], injected=["link:delay_exit=2000000"]
    ) as server:
        connection = a_connection(org, openssh_config(server, operation_timeout=1))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        assert len(names(server)) == 2
        make_due()
        assert deliver(connection.id).sent == 1
        until(lambda: len(names(server)) == 1)
        assert names(server) == [export.filename]


@breakable
@pytest.mark.parametrize("is_taken", [False, True])
def test_a_server_that_dies_between_link_and_unlink(org: Org, ann: User, is_taken: bool) -> None:
    with OpenSSHServer(
        sftp_server_args=["-P", "posix-rename"], injected=["unlink:signal=KILL"]
    ) as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        server.restart(injected=())
        make_due()
        assert deliver(connection.id).sent == 1
        if is_taken:
            (server.root / "exports" / export.filename).unlink()
        cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
        assert names(server) == [export.filename] * (not is_taken)


@breakable
@pytest.mark.parametrize(("is_taken", "evidence"), [(False, "OBSERVED"), (True, "INFERRED")])
def test_a_rename_whose_answer_comes_too_late(
    org: Org, ann: User, is_taken: bool, evidence: str
) -> None:
    with OpenSSHServer(injected=["rename:delay_exit=1500000"]) as server:
        connection = a_connection(org, openssh_config(server, operation_timeout=1))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        assert names(server) == [export.filename]
        if is_taken:
            (server.root / "exports" / export.filename).unlink()
        make_due()
        assert deliver(connection.id).sent == 1
        assert ErpExport.objects.get().sent_evidence == evidence
        assert names(server) == [export.filename] * (not is_taken)


@breakable
def test_an_exhausted_quota_delays_and_loses_nothing(org: Org, ann: User) -> None:
    with OpenSSHServer(injected=["fsync:error=EDQUOT"]) as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"REMOTE_FAILURE": 1}
        assert names(server) == []
        server.restart(injected=())
        make_due()
        assert deliver(connection.id).sent == 1
        assert names(server) == [export.filename]


def test_a_server_that_takes_no_more_logins_is_tried_later(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with OpenSSHServer(config=["MaxStartups 1"]) as server:
        connection = a_connection(org, openssh_config(server, connect_timeout=2))
        some_exports(org, ann)
        with closing(socket.create_connection((server.host, server.port))) as somebody:
            # Its banner says that somebody has the one place.
            assert somebody.recv(4) == b"SSH-"
            assert deliver(connection.id).sent == 0
        connection.refresh_from_db()
        assert connection.failures == 1 and not connection.is_paused
        make_due()
        assert deliver(connection.id).sent == 1


def test_a_session_that_broke_while_idle_fails_nothing(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with TcpProxy(openssh.host, openssh.port) as proxy:
        connection = a_connection(org, openssh_config(openssh, port=proxy.port))
        for first in range(3):
            exports = some_exports(org, ann, first=first)
            summary = deliver(connection.id)
            assert (summary.sent, summary.errors) == (len(exports), {})
            proxy.reset()
        assert proxy.connections == 3


def test_a_connection_that_hangs_in_the_middle_of_a_file(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    with TcpProxy(openssh.host, openssh.port) as proxy:
        timeouts = {"connect_timeout": 1, "operation_timeout": 1}
        connection = a_connection(org, openssh_config(openssh, port=proxy.port, **timeouts))
        (export,) = some_exports(org, ann, lines=1000)
        # A login is some 4,000 bytes, the file twenty times as much.
        proxy.stall("to_server", after=40_000)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        assert [name.endswith(".tmp") for name in names(openssh)] == [True]
        proxy.resume()
        make_due()
        assert deliver(connection.id).sent == 1
        cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
        assert names(openssh) == [export.filename]


def test_a_server_without_fsync_serves_too(
    org: Org, ann: User, asyncssh_server: AsyncSSHServer
) -> None:
    with AsyncSSHServer() as server:
        server.faults.hidden_extensions = frozenset({"fsync@openssh.com"})
        connection = a_connection(org, asyncssh_config(server))
        some_exports(org, ann)
        assert deliver(connection.id).sent == 1
        report = connector.test(connector.parse_config(asyncssh_config(server)))
        assert report.success
        assert "fsync@openssh.com" not in report.capabilities["extensions"]


def test_a_server_that_tells_no_sizes_fails_its_test(asyncssh_server: AsyncSSHServer) -> None:
    with AsyncSSHServer() as server:
        server.faults.no_sizes = True
        report = connector.test(connector.parse_config(asyncssh_config(server)))
        failed = [(step.name, step.error.code) for step in report.steps if step.error]
        assert failed == [("write and sync", "NO_SIZE")]


def test_links_to_one_file_end_as_one_where_rename_leaves_them_alone(
    openssh: OpenSSHServer,
) -> None:
    exports = openssh.root / "exports"
    (exports / "a.tmp").write_text("{}")
    os.link(exports / "a.tmp", exports / "a.json")
    with _open_folder(connector.parse_config(openssh_config(openssh))) as folder:
        assert folder.rename([(f"{exports}/a.tmp", f"{exports}/a.json")]) == [None]
    assert names(openssh) == ["a.json"]


def test_a_job_that_removes_staging_files_looks_like_an_erp(
    org: Org, ann: User, openssh: OpenSSHServer
) -> None:
    """So less is believed of it: it has half the time to be acknowledged."""
    connection = a_connection(org, openssh_config(openssh))
    ErpConnection.objects.update(ack_deadline=timedelta(hours=4))
    some_exports(org, ann)

    def clean_up(step: str) -> None:
        if step == "claimed":
            for path in (openssh.root / "exports").glob("*.tmp"):
                path.unlink()

    with mock.patch.object(protocol, "failpoint", autospec=True, side_effect=clean_up):
        assert deliver(connection.id).sent == 1
    export = ErpExport.objects.get()
    assert export.sent_evidence == "INFERRED"
    assert export.ack_due_at and export.sent_at
    assert export.ack_due_at - export.sent_at == timedelta(hours=2)


@pytest.fixture
def disk_mounted(dropzone_root: Path, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A folder mounted at `dropzone_root`; the function mounts it again."""

    def mount() -> None:
        command = ["mount", "--bind", str(tmp_path), str(dropzone_root)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root can mount")

    mount()
    (tmp_path / "exports").mkdir()
    yield mount
    subprocess.run(["umount", "--lazy", dropzone_root], check=True)


@pytest.mark.parametrize("is_empty_folder_below", [False, True])
def test_a_mount_that_goes_away_is_no_evidence(
    org: Org,
    ann: User,
    dropzone_root: Path,
    disk_mounted: Callable[[], None],
    is_empty_folder_below: bool,
) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    connection = a_connection(org, config)
    (export,) = some_exports(org, ann)

    class Crash(BaseException):
        pass

    def crash(step: str) -> None:
        if step == "claimed":
            raise Crash

    with (
        mock.patch.object(protocol, "failpoint", autospec=True, side_effect=crash),
        pytest.raises(Crash),
    ):
        deliver(connection.id)
    subprocess.run(["umount", dropzone_root], check=True)
    if is_empty_folder_below:
        (dropzone_root / "exports").mkdir()
    assert deliver(connection.id).errors == {"FOLDER_CHANGED": 1}
    disk_mounted()
    make_due()
    assert deliver(connection.id).sent == 1
    assert [p.name for p in (dropzone_root / "exports").iterdir()] == [export.filename]


_DROP_A_FILE = """
import sys
from connectors.dropzone.filesystem import FilesystemFolder
from connectors.dropzone.folder import NewFile
root = sys.argv[1]
tmp, final = f"{root}/a.tmp", f"{root}/a.json"
with FilesystemFolder([root]) as folder:
    assert folder.create([NewFile(tmp, b"{}", unless=final)]) == [None]
    assert folder.rename([(tmp, final)]) == [None]
"""


@breakable
def test_a_mounted_folder_is_synced_before_and_after_its_rename(tmp_path: Path) -> None:
    """File, folder, rename, folder: a power loss never takes what was reported."""
    trace, drop = tmp_path / "trace", tmp_path / "drop"
    drop.mkdir()
    calls = "fsync,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
    strace = [shutil.which("strace") or "", "-y", "-o", str(trace), "-e", f"trace={calls}"]
    program = [sys.executable, "-c", _DROP_A_FILE, str(drop)]
    subprocess.run([*strace, *program], check=True, cwd=ROOT)
    lines = [line for line in trace.read_text().splitlines() if str(drop) in line]
    done = [(line.partition("(")[0], ".tmp>" in line) for line in lines]
    assert done == [("fsync", True), ("fsync", False), ("renameat", False), ("fsync", False)]
