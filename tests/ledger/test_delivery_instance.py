"""A database that was copied, or restored from a backup, delivers nothing until it is claimed."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.test import Client
from django_q.models import OrmQ

from accounts.audit import Action
from accounts.models import AuditEntry, User
from connectors import circuit_breaker, lease, ownership
from connectors.models import DeliveryInstance, ErpConnection
from connectors.ownership import OtherInstance
from exports.connection_tests import request_test
from exports.delivery.archive import archive_pending
from exports.delivery.dispatch import wake_due_connections, wake_due_polls
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from exports.resolution.manual import Resolution, resolve
from kernel.errors import RuleViolation
from tests.support.admins import logged_in, text
from tests.support.builders import some_exports
from tests.support.dropzones import Dropzone
from tests.support.processes import run
from tests.support.servers import postgres
from worker import tasks
from worker.supervisor import Supervisor

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


@pytest.fixture(params=["renamed", "restored", "unclaimed"])
def estrange(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Make the database belong to another installation, be a copy, or be unclaimed."""

    def estrange() -> None:
        if request.param == "renamed":
            DeliveryInstance.objects.update(name="staging")
        elif request.param == "restored":
            DeliveryInstance.objects.update(database="another")
        else:
            DeliveryInstance.objects.all().delete()

    return estrange


@pytest.fixture
def foreign(estrange: Callable[[], None]) -> None:
    estrange()


def whole_tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def an_answer(dropzone: Dropzone, export: ErpExport) -> None:
    answer = '{"status": "ACKED", "erp_order_id": "4711"}'
    (dropzone.acks / f"ack_{export.filename}").write_text(answer)


def do_everything(erp: ErpConnection) -> None:
    """Do all the work of workers, woken and scheduled."""
    for task in (tasks.deliver, tasks.poll_acks):
        task(str(erp.id))
    for task in (archive_pending, tasks.retest_connections, tasks.tidy):
        task()


def test_nothing_is_sent_polled_or_moved_until_it_is_claimed(
    erp: ErpConnection, ann: User, dropzone: Dropzone, estrange: Callable[[], None]
) -> None:
    (sent,) = some_exports(erp.org, ann)
    deliver(erp.id)
    an_answer(dropzone, sent)
    estrange()
    before = whole_tree(dropzone.exports.parent)
    some_exports(erp.org, ann, 2, first=1)
    OrmQ.objects.all().delete()

    do_everything(erp)
    assert wake_due_connections() == wake_due_polls() == OrmQ.objects.count() == 0
    assert whole_tree(dropzone.exports.parent) == before
    assert not ErpExport.objects.exclude(archived_at=None).exists()
    assert ErpExport.objects.filter(status="PENDING", attempts=0).count() == 2
    erp.refresh_from_db()
    assert not erp.is_paused
    assert not erp.failures

    ownership.claim()
    claimed = AuditEntry.objects.get(action=Action.DATABASE_CLAIMED)
    assert claimed.after == {"installation": settings.DELIVERY_INSTANCE}
    ErpConnection.objects.update(poll_due_at=erp.created_at)
    assert wake_due_connections() == wake_due_polls() == 1
    do_everything(erp)
    sent.refresh_from_db()
    assert sent.status == "ACKED"
    assert ErpExport.objects.filter(status="SENT").exclude(archived_at=None).count() == 2


def test_no_connection_is_tested(
    foreign: None, erp: ErpConnection, ann: User, dropzone: Dropzone
) -> None:
    with pytest.raises(RuleViolation) as refused:
        request_test(erp, actor=ann)
    assert refused.value.code == "OTHER_INSTANCE"
    with pytest.raises(OtherInstance):
        circuit_breaker.run_test(erp)
    with pytest.raises(CommandError, match="claim_delivery_instance"):
        call_command("test_connection", erp.id)
    erp.refresh_from_db()
    assert erp.last_test_at is None


def test_a_paused_connection_is_not_tested_again(foreign: None, erp: ErpConnection) -> None:
    long_ago = erp.created_at.replace(year=2020)
    ErpConnection.objects.update(paused_at=long_ago, pause_code="DIR_MISSING")
    assert circuit_breaker.retest_due() == 0
    ownership.claim()
    assert circuit_breaker.retest_due() == 1


def test_nothing_is_settled_in_the_dropzone(foreign: None, erp: ErpConnection, ann: User) -> None:
    (export,) = some_exports(erp.org, ann)
    ErpExport.objects.filter(id=export.id).update(
        staged_path="x.tmp", staged_at=export.created_at, destination={}
    )
    with pytest.raises(RuleViolation) as refused:
        resolve(export.id, Resolution.NOT_DELIVERED, actor=ann, reason="seen")
    assert refused.value.code == "OTHER_INSTANCE"


@pytest.mark.parametrize("command", ["deliver", "poll_acks"])
def test_commands_in_the_foreground_refuse(foreign: None, erp: ErpConnection, command: str) -> None:
    with pytest.raises(CommandError, match="Nothing is sent"):
        call_command(command)


def test_a_worker_that_is_delivering_stops_when_another_installation_claims(
    erp: ErpConnection, settings: Any
) -> None:
    held = lease.acquire(erp.id)
    assert held
    settings.DELIVERY_INSTANCE = "production-2"
    ownership.claim()
    assert lease.acquire(erp.id) is None
    settings.DELIVERY_INSTANCE = "production"
    assert not held.renew()


def test_every_page_of_the_admin_says_so(admin_client: Client) -> None:
    assert "Nothing is sent" not in text(admin_client.get("/admin/"))
    DeliveryInstance.objects.update(name="staging")
    for page in ("/admin/", "/admin/connectors/erpconnection/"):
        told = text(admin_client.get(page))
        assert "belongs to the installation “staging”" in told
        assert "manage.py claim_delivery_instance" in told


def test_who_is_not_logged_in_is_told_nothing(foreign: None, client: Client) -> None:
    assert "Nothing is sent" not in text(client.get("/admin/login/"))


def test_an_export_says_that_it_waits(foreign: None, erp: ErpConnection, ann: User) -> None:
    (export,) = some_exports(erp.org, ann)
    ann.is_staff = ann.is_superuser = True
    ann.save()
    page = logged_in(ann).get(f"/admin/exports/erpexport/{export.id}/change/")
    assert "nothing is delivered from this database" in text(page)


def test_the_worker_logs_it_once(caplog: pytest.LogCaptureFixture) -> None:
    worker = Supervisor()
    worker._denial_reason = ""
    with caplog.at_level(logging.WARNING):
        worker._look_whose_it_is()
        DeliveryInstance.objects.update(name="staging")
        worker._look_whose_it_is()
        worker._look_whose_it_is()
        ownership.claim()
        worker._look_whose_it_is()
    barred, free = caplog.messages
    assert "belongs to the installation “staging”" in barred
    assert free == "worker: delivering from this database now"


# Claiming.


def test_a_claim_wants_the_name(
    foreign: None, erp: ErpConnection, ann: User, capsys: pytest.CaptureFixture[str]
) -> None:
    some_exports(erp.org, ann, 2)
    with pytest.raises(CommandError, match="Not confirmed"):
        call_command("claim_delivery_instance", "--confirm", "yes")
    assert "2 waiting exports are sent at once, on 1 connections" in capsys.readouterr().out
    assert ownership.denial_reason()
    call_command("claim_delivery_instance", "--confirm", settings.DELIVERY_INSTANCE)
    assert not ownership.denial_reason()
    call_command("claim_delivery_instance")
    assert "already" in capsys.readouterr().out


def test_a_claim_asks_at_the_terminal(foreign: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda question: settings.DELIVERY_INSTANCE)
    call_command("claim_delivery_instance")
    assert not ownership.denial_reason()


def test_migrating_again_claims_nothing() -> None:
    DeliveryInstance.objects.update(name="staging", database="another")
    call_command("migrate", verbosity=0)
    owner = DeliveryInstance.objects.get()
    assert (owner.name, owner.database) == ("staging", "another")


# The real thing: a dump, restored beside the database that it was made of.


@contextmanager
def restored(child_env: dict[str, str], dump: Path) -> Iterator[dict[str, str]]:
    """The environment for processes on a new database, made of a dump."""
    server, name = child_env["DATABASE_URL"].rpartition("/")[0], "restored"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        session.execute(f"CREATE DATABASE {name}")
        try:
            url = f"{server}/{name}"
            restore = [postgres.programs() / "pg_restore", "--exit-on-error", "--dbname", url, dump]
            subprocess.run(restore, check=True)
            yield {**child_env, "DATABASE_URL": url}
        finally:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.django_db(transaction=True)
def test_a_restored_dump_sends_nothing_again(
    erp: ErpConnection, ann: User, dropzone: Dropzone, child_env: dict[str, str], tmp_path: Path
) -> None:
    if database.vendor != "postgresql":
        pytest.skip("a copied SQLite file cannot be told from its original")
    (export,) = some_exports(erp.org, ann)
    dump = tmp_path / "backup.dump"
    url = child_env["DATABASE_URL"]
    backup = [postgres.programs() / "pg_dump", "--format=custom", "--dbname", url, "--file", dump]
    subprocess.run(backup, check=True)
    deliver(erp.id)
    taken = dropzone.exports / export.filename
    taken.unlink()

    with restored(child_env, dump) as env:
        refused = run(env, "deliver")
        assert refused.returncode == 1
        assert "was restored or copied since" in refused.stderr
        assert not taken.exists()
        # It was this that kept it from being sent again.
        assert run(env, "claim_delivery_instance", "--confirm", "development").returncode == 0
        assert run(env, "deliver").returncode == 0
        assert taken.exists()


@pytest.mark.django_db(transaction=True)
def test_another_name_in_the_environment_sends_nothing(
    erp: ErpConnection, ann: User, dropzone: Dropzone, child_env: dict[str, str]
) -> None:
    some_exports(erp.org, ann)
    refused = run({**child_env, "DELIVERY_INSTANCE": "staging"}, "deliver")
    assert refused.returncode == 1
    assert "belongs to the installation “development”, and this one is “staging”" in refused.stderr
    assert not dropzone.files()
    assert run(child_env, "deliver").returncode == 0
    assert dropzone.files()


def test_an_ordinary_role_may_ask_which_database_it_is() -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite knows no roles")
    with database.cursor() as cursor:
        cursor.execute("CREATE ROLE ordinary")
        cursor.execute("GRANT SELECT ON delivery_instance TO ordinary")
        cursor.execute("SET LOCAL ROLE ordinary")
        try:
            assert not ownership.denial_reason()
        finally:
            cursor.execute("RESET ROLE")
