"""The queue only wakes workers: the rows decide what is delivered, even if tasks are lost."""

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError
from django.db import connection as database
from django.test import override_settings
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.tasks import async_task
from django_q.timeout import TimeoutHandler

from accounts.models import User
from connectors import lease
from connectors.models import ErpConnection
from exports.checks import check_queue
from exports.delivery.dispatch import wake_due_connections
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, some_exports
from tests.support.dropzones import asyncssh_config
from tests.support.processes import ROOT, worker
from tests.support.servers import AsyncSSHServer, TcpProxy
from tests.support.waiting import until
from worker import tasks
from worker.schedules import create_schedules

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_is_handed_out_ten_times_delivers_once(
    ann: User, mounted: ErpConnection, dropzone_root: Path
) -> None:
    exports = some_exports(mounted.org, ann, 5)

    def work() -> None:
        try:
            tasks.deliver(str(mounted.id))
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in dropzone_root.iterdir()) == sorted(e.filename for e in exports)
    assert {e.events.filter(kind="SENT").count() for e in exports} == {1}
    assert {e.events.filter(kind="STAGING").count() for e in exports} == {1}


def test_an_export_whose_task_was_lost_is_found(ann: User, mounted: ErpConnection) -> None:
    some_exports(mounted.org, ann)
    assert OrmQ.objects.count() == 1
    OrmQ.objects.all().delete()
    assert wake_due_connections() == 0
    ErpConnection.objects.update(enqueued_at=db_now() - timedelta(seconds=61))
    assert wake_due_connections() == 1
    assert OrmQ.objects.count() == 1


def test_tasks_carry_nothing_but_names_and_ids(ann: User, mounted: ErpConnection) -> None:
    """So no release of this service fails to read what another one has enqueued."""
    some_exports(mounted.org, ann)
    task = SignedPackage.loads(OrmQ.objects.get().payload)
    assert task["func"] == "worker.tasks.deliver"
    assert task["args"] == (str(mounted.id),)
    assert {type(value).__module__ for value in task.values()} <= {"builtins", "datetime"}


def test_a_task_of_another_release_stops_nobody(
    ann: User, mounted: ErpConnection, child_env: dict[str, str]
) -> None:
    for _ in range(3):
        async_task("worker.tasks.of_another_release", "x")
    OrmQ.objects.create(key=settings.Q_CLUSTER["name"], payload="garbage", lock=db_now())
    with worker(child_env):
        some_exports(mounted.org, ann)
        until(ErpExport.objects.filter(status="SENT").exists)


def test_a_schedule_that_was_missed_ten_times_runs_once() -> None:
    create_schedules()
    Schedule.objects.update(next_run=db_now() - timedelta(minutes=10))
    scheduler()
    scheduler()
    assert OrmQ.objects.count() == Schedule.objects.count()
    assert not Schedule.objects.filter(next_run__lt=db_now()).exists()


def test_a_task_must_not_be_handed_out_again_while_it_runs() -> None:
    assert check_queue() == []
    with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "retry": 1}):
        assert [error.id for error in check_queue()] == ["exports.E001"]


def test_the_time_limit_of_a_task_leaves_nothing_open(
    ann: User, asyncssh_server: AsyncSSHServer
) -> None:
    threads = threading.active_count()
    with TcpProxy(asyncssh_server.host, asyncssh_server.port) as proxy:
        config = asyncssh_config(asyncssh_server, port=proxy.port)
        mounted = a_connection(ann.memberships.get().org, config)
        some_exports(mounted.org, ann)
        # Where it waits longest: for the answer to a request.
        proxy.stall("to_client", after=4_000)
        with pytest.raises(SystemExit), TimeoutHandler(1):
            tasks.deliver(str(mounted.id))
    mounted.refresh_from_db()
    assert mounted.lease_until is None
    assert mounted.last_error and mounted.last_error["code"] == "CONNECT_TIMEOUT"
    until(lambda: threading.active_count() <= threads, seconds=5)


def test_a_worker_with_a_wrong_clock_does_no_harm(
    ann: User, mounted: ErpConnection, child_env: dict[str, str], faketime: str
) -> None:
    def deliver(clock: str) -> str:
        return subprocess.run(
            [faketime, "-f", clock, sys.executable, "manage.py", "deliver"],
            cwd=ROOT,
            env=child_env | {"DONT_FAKE_MONOTONIC": "1"},
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    some_exports(mounted.org, ann)
    held = lease.acquire(mounted.id)
    assert held
    deliver("+1h")
    assert not ErpExport.objects.filter(status="SENT").exists(), "it took another worker's lease"
    held.release()
    ErpConnection.objects.update(retry_at=db_now() + timedelta(minutes=5))
    deliver("+1h")
    assert not ErpExport.objects.filter(status="SENT").exists(), "it did not wait"
    ErpConnection.objects.update(retry_at=db_now() - timedelta(minutes=5))
    assert "1 sent" in deliver("-1h"), "it waited too long"
    export = ErpExport.objects.get()
    assert export.sent_at and abs(export.sent_at - db_now()) < timedelta(minutes=1)


def test_a_push_counts_though_no_task_is_enqueued(
    ann: User, mounted: ErpConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise OperationalError("the database went away after the commit")

    monkeypatch.setattr("exports.delivery.dispatch.async_task", away)
    some_exports(mounted.org, ann)
    assert deliver(mounted.id).sent == 1
