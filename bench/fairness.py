"""Fairness: twenty dropzones and two workers, then half of the servers stop answering."""

import random
import statistics
import time
from contextlib import ExitStack
from uuid import UUID

from accounts.models import User
from bench.measuring import report
from bench.workers import working
from connectors.models import ErpConnection
from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer, TcpProxy

CONNECTIONS = 20
SECONDS = 40
PAUSE = 0.1


def measure() -> None:
    """Push to all connections; report the waits on those whose server still works."""
    with ExitStack() as stack:
        server = stack.enter_context(OpenSSHServer())
        healthy, silent = (
            stack.enter_context(TcpProxy(server.host, server.port)) for _ in range(2)
        )
        ann = a_user(an_org("bench-fair"), "fair")
        connections = [
            a_connection(
                an_org(f"fair-{i}"), openssh_config(server, port=(healthy, silent)[i % 2].port)
            )
            for i in range(CONNECTIONS)
        ]
        stack.enter_context(working())
        _push(connections, ann, seconds=5)
        _wait_for({c.id for c in connections})
        silent.stall()
        pushed = _push(connections, ann, seconds=SECONDS)
        answering = {c.id for c in connections[::2]}
        _wait_for(answering)
        waits = _waits(answering, pushed)
    p95 = statistics.quantiles(waits, n=20)[-1]
    report(
        f"push to SENT beside {CONNECTIONS // 2} of {CONNECTIONS} connections that hang, "
        f"2 workers, {SECONDS} s from the moment they begin to",
        median_s=round(statistics.median(waits), 3),
        p95_s=round(p95, 3),
        max_s=round(max(waits), 3),
        exports=len(waits),
        target_p95_s=5,
        met=p95 < 5,
    )


def _push(connections: list[ErpConnection], ann: User, *, seconds: float) -> list[UUID]:
    chance = random.Random(1)
    first = ErpExport.objects.count()
    pushed: list[UUID] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        connection = chance.choice(connections)
        (export,) = some_exports(connection.org, ann, first=first + len(pushed))
        pushed.append(export.id)
        time.sleep(PAUSE)
    return pushed


def _waits(connections: set[UUID], pushed: list[UUID]) -> list[float]:
    rows = ErpExport.objects.filter(id__in=pushed, erp_connection__in=connections)
    return [
        (sent_at - created_at).total_seconds()
        for created_at, sent_at in rows.values_list("created_at", "sent_at")
        if sent_at
    ]


def _wait_for(connections: set[UUID]) -> None:
    waiting = ErpExport.objects.filter(
        erp_connection__in=connections, status=ErpExport.Status.PENDING
    )
    while waiting.exists():
        time.sleep(0.2)
