"""The real worker: idle, stopped, killed and stuck, and with a fast ERP."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from accounts.models import Org, User
from exports.delivery import heartbeat
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, some_exports
from tests.support.dropzones import dropzone_of, openssh_config
from tests.support.erp import Erp
from tests.support.invariants import assert_kept
from tests.support.processes import ROOT, manage, worker
from tests.support.servers import OpenSSHServer, TcpProxy
from tests.support.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


def wait_until_sent(count: int) -> None:
    sent = ErpExport.objects.filter(status="SENT")
    until(lambda: sent.count() == count, "not everything was sent in time")


@pytest.mark.parametrize("kind", ["filesystem", "openssh"])
def test_an_eager_erp_never_sees_half_or_twice(
    org: Org, ann: User, kind: str, request: pytest.FixtureRequest, child_env: dict[str, str]
) -> None:
    with dropzone_of(kind, request) as dropzone, worker(child_env):
        erp = Erp(dropzone)
        with erp.taking_at_once():
            a_connection(org, dropzone.config)
            exports = some_exports(org, ann, 30, lines=20)
            wait_until_sent(30)
        assert_kept(exports, erp.taken, dropzone.leftovers())


def test_an_idle_worker_sends_soon_and_stops_when_told(
    org: Org, ann: User, dropzone_root: Path, child_env: dict[str, str]
) -> None:
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    with worker(child_env) as process:
        some_exports(org, ann)
        wait_until_sent(1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > 2
    assert not [member for member in family if member.is_running()]


def test_a_killed_worker_leaves_no_process_behind(child_env: dict[str, str]) -> None:
    process = manage(child_env, "worker")
    family = wait_for_cluster(process)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive


def test_a_worker_says_that_it_is_alive(child_env: dict[str, str]) -> None:
    with worker({**child_env, "WORKERS": "3"}) as process:
        wait_for_cluster(process)
        assert heartbeat.count_processes() == 3
        (row,) = heartbeat.alive()
        assert row.pid == process.pid
    assert not heartbeat.alive().exists()
    assert heartbeat.count_processes() == settings.Q_CLUSTER["workers"]


def test_a_cluster_whose_processes_take_nothing_ends(child_env: dict[str, str]) -> None:
    program = """
import django, os, sys
django.setup()
from worker import cluster
cluster._CANARY_SECONDS, cluster._IDLE_SECONDS = 0.5, 1
canary = cluster._canary
def noted():
    os.write(int(sys.argv[1]), b"c")
    return canary()
cluster._canary = noted
parent, _ = os.pipe()
cluster.run(parent)
"""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(theirs)],
        cwd=ROOT,
        env=child_env,
        pass_fds=[theirs],
        start_new_session=True,
    )
    os.close(theirs)
    try:
        # It sends the third canary only if it lives on after two that were answered.
        for _ in range(3):
            assert os.read(ours, 1), "a healthy cluster ended"
        # One of them waits for a task and holds the queue's lock; the other waits for the lock.
        for child in psutil.Process(process.pid).children():
            child.send_signal(signal.SIGSTOP)
        assert process.wait(15) == -signal.SIGKILL
    finally:
        os.close(ours)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    until(
        lambda: not any(_is_of_group(p, process.pid) for p in psutil.process_iter()),
        "processes are left",
    )


def test_a_delivery_that_hangs_ends_with_the_grace_and_loses_nothing(
    org: Org, ann: User, openssh: OpenSSHServer, child_env: dict[str, str]
) -> None:
    program = """
import django, sys
django.setup()
from worker import cluster
cluster.GRACE_SECONDS = 2
cluster.run(int(sys.argv[1]))
"""
    with TcpProxy(openssh.host, openssh.port) as proxy:
        proxy.stall("to_client", after=20_000)
        connection = a_connection(org, openssh_config(openssh, port=proxy.port))
        theirs, ours = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs)],
            cwd=ROOT,
            env=child_env,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        exports = some_exports(org, ann, 200)
        until(ErpExport.objects.filter(attempts__gt=0).exists, "no delivery has begun")
        # As SIGTERM and SIGKILL of `manage.py worker` do.
        os.close(ours)
        assert process.wait(40) == -signal.SIGKILL
        assert ErpExport.objects.filter(status="PENDING").exists()
        proxy.resume()
        type(connection).objects.update(lease_until=None, retry_at=None)
        ErpExport.objects.update(next_attempt_at=db_now())
        while deliver(connection.id).sent:
            pass
    assert {path.name for path in (openssh.root / "exports").glob("*.json")} == {
        export.filename for export in exports
    }
    assert set(ErpExport.objects.values_list("status", flat=True)) == {"SENT"}


def wait_for_cluster(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes of a worker, once there are some that do tasks."""
    root = psutil.Process(process.pid)
    until(lambda: len(root.children(recursive=True)) >= 5, "no cluster was started")
    return root.children(recursive=True)


def _is_of_group(process: psutil.Process, group: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False
