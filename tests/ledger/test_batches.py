"""Batches: an outcome for each order, whatever happens to the worker, the person or an order."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django_q.models import OrmQ

from accounts.models import Org, User
from connectors.models import ErpConnection
from connectors.port import Document
from exports.delivery.outcomes import fail
from exports.models import Batch, ErpExport
from exports.pushing import batch_runs, batches, push
from exports.pushing.actions import DECISIONS
from exports.pushing.batch_runs import run, wake_waiting
from exports.pushing.batches import cancel, create_batch, progress
from exports.pushing.push import push_order
from exports.pushing.rendering import render_order
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders.models import DraftOrder
from tests.support.builders import an_approved_order, an_order
from tests.support.locks import wait_until_one_waits
from tests.support.processes import ROOT, worker
from tests.support.waiting import until
from worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.usefixtures("mounted")]
Status = DraftOrder.Status
T = TypeVar("T")


@pytest.fixture
def in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders at a time."""
    monkeypatch.setattr(batch_runs, "CHUNK_ORDERS", 2)


@pytest.fixture
def one_step(in_pairs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends after two orders."""
    monkeypatch.setattr(batch_runs, "RUN_SECONDS", 0)


def a_batch(org: Org, actor: User, action: str = "push", *, count: int = 0) -> Batch:
    """A batch of all orders of an org, and of `count` new ones that are approved."""
    for number in range(count):
        an_approved_order(org, actor, f"PO-{number}")
    return create_batch(org, action=action, orders=DraftOrder.objects.filter(org=org), actor=actor)


def outcomes(batch: Batch) -> list[tuple[str, str, str]]:
    items = batch.items.order_by("id")
    return list(items.values_list("draft_order__external_order_number", "outcome", "code"))


def counts(batch: Batch) -> Counter[str]:
    return Counter(batch.items.values_list("outcome", flat=True))


def test_the_actions_are_the_decisions() -> None:
    assert set(Batch.Action.values) == set(DECISIONS)


def test_each_order_says_what_became_of_it(org: Org, approver: User) -> None:
    an_order(org, "unapproved")
    an_approved_order(org, approver, "fine")
    live = push_order(an_approved_order(org, approver, "live").id, actor=approver)
    batch = a_batch(org, approver)
    assert progress(batch).state == Batch.State.WAITING
    run(batch.id)
    assert set(outcomes(batch)) == {
        ("unapproved", "REFUSED", "NOT_APPROVED"),
        ("fine", "DONE", ""),
        ("live", "REFUSED", "LIVE_EXPORT"),
    }
    assert live.filename in batch.items.get(code="LIVE_EXPORT").message
    made = batch.items.get(outcome="DONE").export
    assert made and made.status == ErpExport.Status.PENDING and made.requested_by == approver
    batch.refresh_from_db()
    told = progress(batch)
    assert (told.state, told.total, told.done, told.refused) == (Batch.State.FINISHED, 3, 1, 2)
    assert told.waiting == told.failed == told.cancelled == 0
    assert batch.lease_until is None


@pytest.mark.parametrize(
    ("action", "status"),
    [("approve", "APPROVED"), ("push", "PUSHING"), ("retry", "PUSHING"), ("reject", "REJECTED")],
)
def test_every_decision_can_be_made_in_bulk(
    org: Org, approver: User, action: str, status: str, in_pairs: None
) -> None:
    for number in range(3):
        order = an_order(org, f"PO-{number}") if action == "approve" else None
        order = order or an_approved_order(org, approver, f"PO-{number}")
        if action == "retry":
            fail(push_order(order.id, actor=approver), {"code": "GIVEN_UP"})
    batch = a_batch(org, approver, action)
    run(batch.id)
    assert counts(batch) == {"DONE": 3}
    assert set(DraftOrder.objects.values_list("status", flat=True)) == {status}
    has_export = action in ("push", "retry")
    assert batch.items.filter(export__isnull=not has_export).count() == 3


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_warnings_are_confirmed_for_all(org: Org, approver: User, is_confirmed: bool) -> None:
    twins = [an_order(org, "PO-7").id, an_order(org, "PO-7").id]
    batch = create_batch(
        org,
        action="approve",
        orders=DraftOrder.objects.filter(id__in=twins),
        actor=approver,
        confirm_warnings=is_confirmed,
    )
    run(batch.id)
    assert counts(batch) == ({"DONE": 2} if is_confirmed else {"REFUSED": 2})
    assert set(batch.items.values_list("code", flat=True)) == (
        {""} if is_confirmed else {"NEEDS_CONFIRMATION"}
    )


def test_a_batch_has_orders_and_not_too_many(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuleViolation) as raised:
        a_batch(org, approver)
    assert raised.value.code == "NO_ORDERS"
    monkeypatch.setattr(batches, "MAX_BATCH_ORDERS", 2)
    assert a_batch(org, approver, count=2).items.count() == 2
    an_order(org, "one too many")
    with pytest.raises(RuleViolation) as raised:
        a_batch(org, approver)
    assert raised.value.code == "TOO_MANY_ORDERS"
    assert Batch.objects.count() == 1


def test_the_oldest_orders_are_first(org: Org, approver: User, one_step: None) -> None:
    numbers = ["PO-2", "PO-0", "PO-3", "PO-1"]
    for number in numbers:
        created_at = db_now() - timedelta(days=int(number[-1]))
        an_approved_order(org, approver, number, created_at=created_at)
    batch = a_batch(org, approver)
    run(batch.id)
    assert outcomes(batch)[:2] == [("PO-3", "DONE", ""), ("PO-2", "DONE", "")]
    assert counts(batch) == {"DONE": 2, "WAITING": 2}


def test_large_orders_are_done_fewer_at_a_time(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_runs, "RUN_SECONDS", 0)
    monkeypatch.setattr(batch_runs, "CHUNK_LINES", 6)
    for number, lines in enumerate((3, 3, 2, 9)):
        created_at = db_now() + timedelta(seconds=number)
        an_approved_order(org, approver, f"PO-{number}", lines=lines, created_at=created_at)
    batch = a_batch(org, approver)
    done = []
    for _ in range(3):
        run(batch.id)
        done.append(counts(batch)["DONE"])
    assert done == [2, 3, 4]


def test_what_was_done_before_a_cancellation_stays(
    org: Org, approver: User, one_step: None
) -> None:
    batch = a_batch(org, approver, count=5)
    run(batch.id)
    batch.refresh_from_db()
    assert batch.state == Batch.State.RUNNING
    cancel(batch.id, actor=approver)
    run(batch.id)
    assert [outcome for _, outcome, _ in outcomes(batch)] == ["DONE"] * 2 + ["CANCELLED"] * 3
    batch.refresh_from_db()
    assert (batch.state, batch.cancelled_by) == (Batch.State.CANCELLED, approver)
    with pytest.raises(RuleViolation) as raised:
        cancel(batch.id, actor=approver)
    assert raised.value.code == "NOT_CANCELLABLE"


def test_who_may_no_longer_do_it_does_no_more(org: Org, approver: User, one_step: None) -> None:
    batch = a_batch(org, approver, count=4)
    run(batch.id)
    User.objects.update(is_active=False)
    run(batch.id)
    assert [code for _, _, code in outcomes(batch)] == ["", "", "NOT_PERMITTED", "NOT_PERMITTED"]
    assert ErpExport.objects.count() == 2


@pytest.mark.parametrize("lost", ["groups", "memberships"])
def test_a_lost_permission_or_membership_ends_it_too(org: Org, approver: User, lost: str) -> None:
    batch = a_batch(org, approver, count=1)
    getattr(approver, lost).all().delete()
    run(batch.id)
    assert [code for _, _, code in outcomes(batch)] == ["NOT_PERMITTED"]


def test_an_order_that_breaks_the_push_breaks_it_for_itself_alone(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = push_order(an_approved_order(org, approver, "first").id, actor=approver).filename

    def render(order: DraftOrder) -> tuple[ErpConnection, Document]:
        erp, document = render_order(order)
        # The database will refuse the name, and with it everything in the transaction.
        bad = order.external_order_number == "PO-1"
        return erp, replace(document, filename=taken) if bad else document

    monkeypatch.setattr(push, "render_order", render)
    batch = a_batch(org, approver, count=4)
    run(batch.id)
    assert set(outcomes(batch)) == {
        ("first", "REFUSED", "LIVE_EXPORT"),
        ("PO-0", "DONE", ""),
        ("PO-1", "FAILED", "INTERNAL"),
        ("PO-2", "DONE", ""),
        ("PO-3", "DONE", ""),
    }
    item = batch.items.get(outcome="FAILED")
    assert item.draft_order.status == Status.APPROVED
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info and str(item.draft_order_id) in record.message
    correlation_id = item.message.rstrip(".").rpartition(" ")[2]
    assert correlation_id in record.message
    assert taken not in item.message
    batch.refresh_from_db()
    assert batch.state == Batch.State.FINISHED


def test_while_the_database_is_away_nothing_fails(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(order: DraftOrder) -> None:
        raise OperationalError("the database went away")

    batch = a_batch(org, approver, count=2)
    with monkeypatch.context() as patch:
        patch.setattr(push, "render_order", away)
        with pytest.raises(OperationalError):
            run(batch.id)
    assert counts(batch) == {"WAITING": 2}
    run(batch.id)
    assert counts(batch) == {"DONE": 2}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("failpoint", "done"), [("batch_step", 0), ("batch_stepped", 2)], ids=["before", "after"]
)
def test_a_worker_killed_around_a_commit_loses_and_repeats_nothing(
    org: Org, approver: User, child_env: dict[str, str], failpoint: str, done: int
) -> None:
    batch = a_batch(org, approver, count=5)
    program = """
import django, sys
django.setup()
from exports.pushing import batch_runs
batch_runs.CHUNK_ORDERS = 2
batch_runs.run(sys.argv[1])
"""
    killed = subprocess.run(
        [sys.executable, "-c", program, str(batch.id)],
        cwd=ROOT,
        env={**child_env, "ORDERFLOW_FAILPOINT": failpoint},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert ErpExport.objects.count() == counts(batch)["DONE"] == done
    run(batch.id)
    assert counts(batch)["DONE"] == done, "it did not wait for the lease to run out"
    Batch.objects.update(lease_until=db_now())
    run(batch.id)
    assert_pushed_once(batch, 5)


@pytest.mark.django_db(transaction=True)
def test_workers_that_take_it_from_each_other_push_each_order_once(
    org: Org, approver: User, in_pairs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every lease has run out when it begins.
    monkeypatch.setattr(batch_runs, "_LEASE", timedelta(0))
    batch = a_batch(org, approver, count=20)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(5):
            run(batch.id)

    with in_threads(*[work] * 4):
        pass
    run(batch.id)
    assert_pushed_once(batch, 20)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks everything at once")
@pytest.mark.django_db(transaction=True)
def test_a_frozen_worker_does_not_freeze_who_rings(
    org: Org, approver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = a_batch(org, approver, count=2)
    # By the time that it is amid its orders, its lease has run out.
    monkeypatch.setattr(batch_runs, "_LEASE", timedelta(0))
    answers: list[int] = []
    in_time: list[int] = []
    ringer = threading.Thread(
        target=closing, args=(lambda: answers.append(wake_waiting()),), daemon=True
    )

    def freeze(name: str) -> None:
        if name == "batch_step":
            ringer.start()
            ringer.join(5)
            in_time.extend(answers)

    monkeypatch.setattr(batch_runs, "failpoint", freeze)
    run(batch.id)
    assert in_time == [0]
    assert_pushed_once(batch, 2)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no queue for its lock")
@pytest.mark.django_db(transaction=True)
def test_a_cancellation_waits_for_the_orders_that_are_being_done(
    org: Org, approver: User, in_pairs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = a_batch(org, approver, count=5)
    is_amid, may_go_on, is_cancelled = threading.Event(), threading.Event(), threading.Event()

    def pause(name: str) -> None:
        if name == "batch_step":
            is_amid.set()
            assert may_go_on.wait(10)
        elif name == "batch_stepped":
            assert is_cancelled.wait(10)

    def cancel_it() -> None:
        cancel(batch.id, actor=approver)
        is_cancelled.set()

    monkeypatch.setattr(batch_runs, "failpoint", pause)
    with in_threads(lambda: run(batch.id)):
        assert is_amid.wait(10)
        with in_threads(cancel_it):
            wait_until_one_waits()
            may_go_on.set()
    assert [outcome for _, outcome, _ in outcomes(batch)] == ["DONE"] * 2 + ["CANCELLED"] * 3
    assert ErpExport.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_batch_wakes_workers_until_it_is_done(org: Org, approver: User, one_step: None) -> None:
    batch = a_batch(org, approver, count=3)
    assert rung() == [batch.id]
    assert wake_waiting() == 0
    Batch.objects.update(enqueued_at=db_now() - timedelta(seconds=61))
    assert wake_waiting() == 1, "the task was lost"
    OrmQ.objects.all().delete()
    tasks.run_batch(str(batch.id))
    assert counts(batch) == {"DONE": 2, "WAITING": 1}
    assert rung() == [batch.id]
    OrmQ.objects.all().delete()
    tasks.run_batch(str(batch.id))
    assert counts(batch) == {"DONE": 3}
    assert rung() == []


@pytest.mark.django_db(transaction=True)
def test_batches_take_half_of_the_workers_in_turns(
    org: Org, approver: User, one_step: None
) -> None:
    first = a_batch(org, approver, count=4)
    second = a_batch(org, approver)
    assert rung() == [first.id]
    OrmQ.objects.all().delete()
    tasks.run_batch(str(first.id))
    assert rung() == [second.id]


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_does_a_batch_and_delivers_it(
    org: Org, approver: User, dropzone_root: Path, child_env: dict[str, str]
) -> None:
    batch = a_batch(org, approver, count=120)
    with worker(child_env):
        sent = ErpExport.objects.filter(status="SENT")
        until(lambda: sent.count() == 120, "not everything was sent in time", seconds=30)
    assert_pushed_once(batch, 120)
    assert len(os.listdir(dropzone_root)) == 120


def assert_pushed_once(batch: Batch, count: int) -> None:
    batch.refresh_from_db()
    assert batch.state == Batch.State.FINISHED
    assert counts(batch) == {"DONE": count}
    exports = ErpExport.objects.values_list("draft_order", "id")
    assert sorted(exports) == sorted(batch.items.values_list("draft_order", "export"))


def rung() -> list[UUID]:
    """The batches that workers are called for, by the tasks in the queue."""
    queued = [row.task for row in OrmQ.objects.order_by("id")]
    return [UUID(q["args"][0]) for q in queued if q["func"] == "worker.tasks.run_batch"]


@contextmanager
def in_threads(*jobs: Callable[[], object]) -> Iterator[None]:
    """Do something meanwhile; wait for it at the end, and raise what it raised."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(closing, job) for job in jobs]
        yield
        for future in futures:
            future.result()


def closing(job: Callable[[], T]) -> T:
    """Do something in a thread that has its own connection to the database."""
    try:
        return job()
    finally:
        connection.close()
