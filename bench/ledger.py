"""From push to SENT: a real worker, a PostgreSQL that syncs, and OpenSSH, all on this machine."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import connection as database
from django.db import connections

from accounts.models import Org, User
from exports.models import ErpExport
from exports.pushing.batches import create_batch
from exports.pushing.push import push_order
from orders.models import DraftOrder
from tests.support.builders import a_connection, a_user, an_approved_order, an_org
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer

from .measuring import report
from .plans import TABLES
from .workers import working

ORDERS = 2000
PUSHERS = 2  # processes
SINGLE = 20


def measure() -> None:
    org = an_org("bench-push")
    ann = a_user(org, "push")
    ann.groups.add(Group.objects.get(name="Approver"))
    with OpenSSHServer() as server, working():
        a_connection(org, openssh_config(server))
        _one_at_a_time(org, ann)
        _many(org, ann)
        _batch(org, ann)
    _report_size()


def _one_at_a_time(org: Org, ann: User) -> None:
    took = []
    for number in range(-1, SINGLE):
        order = an_approved_order(org, ann, f"ONE-{number}", lines=10).id
        # Long enough for the worker to be idle, and at a random moment of its polling second.
        time.sleep(0.5 + 0.05 * number)
        began = time.perf_counter()
        push_order(order, actor=ann)
        _wait_until_sent([order])
        took.append(time.perf_counter() - began)
    del took[0]  # it also waited for the worker to start
    report(
        "one order pushed into an idle system, until SENT",
        median_s=round(statistics.median(took), 2),
        max_s=round(max(took), 2),
        rounds=SINGLE,
        target_s=1.5,
        met=max(took) < 1.5,
    )


def _many(org: Org, ann: User) -> None:
    orders = [an_approved_order(org, ann, f"MANY-{n}", lines=10).id for n in range(ORDERS)]
    # A connection to the database does not survive a fork.
    connections.close_all()
    context = multiprocessing.get_context("fork")
    shares = [orders[number::PUSHERS] for number in range(PUSHERS)]
    pushers = [context.Process(target=_push, args=(share, ann)) for share in shares]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join()
    pushed = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    _wait_until_sent(orders)
    sent = time.perf_counter() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report(
        f"{ORDERS} ten-line orders pushed by {PUSHERS} processes, from the first push to SENT",
        orders_per_s=round(ORDERS / sent),
        pushed_per_s=round(ORDERS / pushed),
        push_cpu_ms=round(1000 * cpu / ORDERS, 1),
        target=200,
        met=ORDERS / sent >= 200,
    )


def _batch(org: Org, ann: User) -> None:
    orders = [an_approved_order(org, ann, f"BATCH-{n}", lines=10).id for n in range(ORDERS)]
    began = time.perf_counter()
    batch = create_batch(
        org, action="push", orders=DraftOrder.objects.filter(id__in=orders), actor=ann
    )
    created = time.perf_counter() - began
    while not batch.finished_at:
        time.sleep(0.05)
        batch.refresh_from_db()
    pushed = time.perf_counter() - began
    _wait_until_sent(orders)
    sent = time.perf_counter() - began
    report(
        f"{ORDERS} ten-line orders pushed as one batch, from its creation to all SENT",
        orders_per_s=round(ORDERS / sent),
        pushed_per_s=round(ORDERS / pushed),
        create_s=round(created, 2),
        target=200,
        met=ORDERS / sent >= 200,
    )


def _report_size() -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT tab, pg_table_size(tab::regclass), pg_indexes_size(tab::regclass)"
            " FROM unnest(%s::text[]) tab",
            [[*TABLES, "audit_entry"]],
        )
        sizes = {table: (size, indexes) for table, size, indexes in cursor.fetchall()}
    exports = ErpExport.objects.count()
    for table, (size, indexes) in sizes.items():
        report(
            f"{table}, of an export that was sent",
            bytes=size // exports,
            bytes_of_indexes=indexes // exports,
        )


def _push(orders: Sequence[UUID], actor: User) -> None:
    for order in orders:
        push_order(order, actor=actor)


def _wait_until_sent(orders: Sequence[UUID]) -> None:
    unsent = ErpExport.objects.filter(draft_order__in=orders).exclude(status=ErpExport.Status.SENT)
    ends = time.monotonic() + 120
    while unsent.exists():
        assert time.monotonic() < ends, "not everything was sent in time"
        time.sleep(0.01)
