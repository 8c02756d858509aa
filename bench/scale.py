"""Scaling: speed must grow with the number of workers, cost must not grow with the table.

First: deliveries by 1, 2 and 4 workers to eight dropzones on one OpenSSH. Then: the daily work of
the ledger and the indexes it uses, with ten thousand, a hundred thousand and a million exports.
PLANS=1 writes the plans into var/query-plans.md.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import connection as database
from django.db.models import QuerySet
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from exports.acks.poller import poll
from exports.delivery.dispatch import due_connections, wake_due_connections
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from tests.support.api import EXPORTS, client, person
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer

from .copies import copy_acks, copy_exports, run_maintenance
from .measuring import report, seconds_of
from .plans import found_by, write_page
from .workers import working

WORKERS = 1, 2, 4
DROPZONES, WAITING = 8, 500  # waiting exports of each dropzone
SIZES = 10_000, 100_000, 1_000_000  # exports in the table
AT_ONCE = 50  # exports and acks of a round
ROUNDS = 11
MOST = 2  # at most this many times the time with the fewest


def measure() -> None:
    _workers()
    _sizes()


def _workers() -> None:
    patterns, connections = [], []
    with OpenSSHServer() as server:
        for number in range(DROPZONES):
            org = an_org(f"bench-workers-{number}")
            folder = server.root / str(number)
            folder.mkdir()
            connections.append(a_connection(org, openssh_config(server, export_path=str(folder))))
            patterns += some_exports(org, a_user(org, f"workers-{number}"), lines=10)
        waiting = ErpExport.objects.filter(
            erp_connection__in=connections, status=ErpExport.Status.PENDING
        )
        for turn, workers in enumerate(WORKERS):
            for pattern in patterns:
                _copy(pattern, range(turn * WAITING + 1, (turn + 1) * WAITING + 1))
            run_maintenance()
            most = waiting.count()
            with working(WORKERS=str(workers)):
                wake_due_connections()
                # Measure from the first batches on, to leave out the start of the workers.
                while (left := waiting.count()) > 0.9 * most:
                    time.sleep(0.01)
                took = seconds_of(partial(_wait_for_none, waiting))
            report(
                f"waiting exports of ten lines to {DROPZONES} dropzones, workers: {workers}",
                exports_per_s=round(left / took),
                exports=left,
            )


def _wait_for_none(waiting: "QuerySet[ErpExport]") -> None:
    while waiting.exists():
        time.sleep(0.02)


def _copy(pattern: ErpExport, numbers: range) -> None:
    """Add waiting exports."""
    copy_exports(pattern, numbers, status="'PENDING'", next_attempt_at="now()", sent_at="NULL")


class _Ledger:
    """An org with many finished exports. Each round adds a few waiting ones."""

    def __init__(self) -> None:
        org = an_org("bench-scale")
        root = Path(settings.DROPZONE_ROOTS[0]) / "scale"
        self._acks = root / "acks"
        for folder in (root / "exports", self._acks):
            folder.mkdir(parents=True)
        paths = {"export_path": str(root / "exports"), "ack_path": str(self._acks)}
        self.connection = a_connection(org, {"mode": "filesystem", **paths})
        user = person("scale", org, "Integration")
        self._api = client(user, org)
        (self._pattern,) = some_exports(org, user, lines=10)
        # This export must not change, because the others are copies of it.
        ErpExport.objects.filter(id=self._pattern.id).update(next_attempt_at=None)
        self._last = 0

    def add_old_exports(self, count: int) -> None:
        """Add exports that were acknowledged long ago."""
        at = f"now() - (n - {self._last}) * interval '8 seconds'"
        copy_exports(
            self._pattern,
            self._next(count),
            status="'ACKED'",
            created_at=at,
            sent_at=at,
            sent_evidence="'OBSERVED'",
            acked_at=at,
            payload="NULL",
            archived_at="now()",
            next_attempt_at="NULL",
        )
        copy_acks(self.connection.id)
        run_maintenance()

    def wait(self) -> None:
        """Add some exports that wait for delivery."""
        _copy(self._pattern, self._next(AT_ONCE))

    def answer(self) -> None:
        """Let the ERP write acks for the sent exports."""
        for name in self._sent().values_list("filename", flat=True):
            content = {"status": "ACKED", "erp_order_id": "SO-1"}
            (self._acks / f"ack_{name}").write_text(json.dumps(content))

    def look(self) -> None:
        assert self.connection in due_connections()

    def deliver(self) -> None:
        assert deliver(self.connection.id).sent == AT_ONCE

    def poll(self) -> None:
        assert poll(self.connection.id).classifications["APPLIED"] == AT_ONCE

    @override_settings(ALLOWED_HOSTS=["testserver"])
    def list(self) -> None:
        assert self._api.get(EXPORTS).status_code == 200

    @override_settings(ALLOWED_HOSTS=["testserver"], METRICS_TOKEN="bench")
    def scrape(self) -> None:
        headers = {"Authorization": "Bearer bench"}
        assert Client().get("/metrics", headers=headers).status_code == 200

    def _sent(self) -> "QuerySet[ErpExport]":
        return ErpExport.objects.filter(
            erp_connection=self.connection, status=ErpExport.Status.SENT
        )

    def _next(self, count: int) -> range:
        first, self._last = self._last + 1, self._last + count
        return range(first, self._last + 1)


def _sizes() -> None:
    ledger = _Ledger()
    steps: dict[str, tuple[Callable[[], None], Callable[[], None] | None]] = {
        "find connections with something to send": (ledger.look, ledger.wait),
        f"deliver {AT_ONCE} exports into a folder": (ledger.deliver, None),
        f"read {AT_ONCE} answers": (ledger.poll, ledger.answer),
        "the newest exports by the API": (ledger.list, None),
        "a scrape of the metrics": (ledger.scrape, None),
    }
    fewest: dict[str, float] = {}
    for size in SIZES:
        ledger.add_old_exports(size - ErpExport.objects.count())
        took: dict[str, list[float]] = {name: [] for name in steps}
        queries: dict[str, list[str]] = {}
        for _ in range(ROUNDS):
            for name, (step, prepare) in steps.items():
                if prepare:
                    prepare()
                if name not in queries:
                    with CaptureQueriesContext(database) as captured:
                        step()
                    queries[name] = [query["sql"] for query in captured]
                else:
                    took[name].append(1000 * seconds_of(step))
        if size == SIZES[-1] and os.environ.get("PLANS"):
            write_page(queries, exports=size)
        for name, times in took.items():
            # Take the fastest round, because the machine may be busy with other work in some.
            ratio = min(times) / fewest.setdefault(name, min(times))
            report(
                f"{name} beside {size} exports",
                fastest_ms=round(min(times), 1),
                median_ms=round(statistics.median(times), 1),
                ratio=round(ratio, 2),
                target=MOST,
                met=ratio <= MOST,
                **found_by(queries[name]),
            )
