"""The ack poller: acks per second and memory, also in a large table and among many other files.

Each measurement polls in its own process, so that servers and proxy do not count.
"""

import json
import multiprocessing
import re
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connections

from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer, TcpProxy

from .copies import copy_acks, copy_exports, run_maintenance
from .measuring import report

ACKS = 10_000
ROUND_TRIP_MS = 50
OTHERS = 100_000  # files
AMONG_OTHERS = 100
FEW, MANY = 10_000, 1_000_000  # exports in the table
SAMPLE, SAMPLES = 1000, 5
IDLE_POLLS = 21


@dataclass(frozen=True, kw_only=True)
class Polled:
    """The acks that some polls applied, the seconds of each poll, and the memory they took."""

    applied: int
    seconds: Sequence[float]
    peak_mb: float

    @property
    def rate(self) -> float:
        return self.applied / sum(self.seconds)


class Site:
    """An org with an ERP, and one export that is the pattern of many copies."""

    _numbers = count()

    def __init__(self, server: OpenSSHServer, **config: object) -> None:
        name = f"bench-acks-{next(self._numbers)}"
        self.acks = server.root / name / "acks"
        exports = server.root / name / "exports"
        for folder in (exports, self.acks / "processed"):
            folder.mkdir(parents=True)
        org = an_org(name)
        paths = {"export_path": str(exports), "ack_path": str(self.acks)}
        self.id = a_connection(org, openssh_config(server, **paths, **config)).id
        (self._pattern,) = some_exports(org, a_user(org, name))
        assert deliver(self.id).sent == 1

    def send(self, count: int) -> list[str]:
        """Add sent exports without an ack; return their file names."""
        copy_exports(self._pattern, self._next(count))
        names = ErpExport.objects.filter(erp_connection=self.id, status=ErpExport.Status.SENT)
        return list(names.exclude(id=self._pattern.id).values_list("filename", flat=True))

    def add_old_exports(self, count: int) -> None:
        """Add exports that were acknowledged long ago."""
        copy_exports(
            self._pattern,
            self._next(count),
            status="'ACKED'",
            acked_at="now()",
            payload="NULL",
            archived_at="now()",
        )
        copy_acks(self.id)
        run_maintenance()

    def _next(self, count: int) -> range:
        first = ErpExport.objects.filter(erp_connection=self.id).count()
        return range(first, first + count)

    def answer(self, filenames: Sequence[str]) -> None:
        for number, filename in enumerate(filenames):
            content = {"status": "ACKED", "erp_order_id": f"SO-{number}", "message": "Accepted"}
            (self.acks / f"ack_{filename}").write_text(json.dumps(content))

    def poll(self, *, rounds: int = 0) -> Polled:
        """Poll in a new process `rounds` times, or until a poll applies nothing."""
        connections.close_all()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            return executor.submit(_poll, self.id, rounds).result()


def _poll(connection_id: UUID, rounds: int) -> Polled:
    idle = _memory_mb("VmRSS")
    applied = 0
    seconds: list[float] = []
    while True:
        began = time.perf_counter()
        summary = poll(connection_id)
        took = time.perf_counter() - began
        assert not summary.errors, summary
        applied += summary.classifications["APPLIED"]
        if not rounds and seconds and not summary.classifications["APPLIED"]:
            break
        seconds.append(took)
        if len(seconds) == rounds:
            break
    connections.close_all()
    return Polled(applied=applied, seconds=seconds, peak_mb=_memory_mb("VmHWM") - idle)


def _memory_mb(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(rf"{name}:\s+(\d+) kB", status)
    return int(kilobytes) / 1024


def measure() -> None:
    with OpenSSHServer() as server:
        site = Site(server)
        _in_bulk(site, "on loopback", target=400)
        _in_a_large_table(site)
        latency = ROUND_TRIP_MS / 2000
        with TcpProxy(server.host, server.port, latency=latency) as proxy:
            _in_bulk(
                Site(server, port=proxy.port),
                f"through round trips of {ROUND_TRIP_MS} ms",
                target=150,
            )
        _beside_processed(Site(server))
        _among_foreign(Site(server))


def _in_bulk(site: Site, where: str, *, target: int) -> None:
    site.answer(site.send(ACKS))
    polled = site.poll()
    assert polled.applied == ACKS, polled
    assert len(list((site.acks / "processed").iterdir())) == ACKS
    report(
        f"{ACKS} acks from OpenSSH {where}",
        acks_per_s=round(polled.rate),
        polls=len(polled.seconds),
        target=target,
        met=polled.rate >= target,
    )
    report(
        f"the same: peak memory of the polling process over idle, {where}",
        peak_mb=round(polled.peak_mb, 1),
        target_mb=100,
        met=polled.peak_mb < 100,
    )


def _in_a_large_table(site: Site) -> None:
    costs = []
    for exports in (FEW, MANY):
        site.add_old_exports(exports - ErpExport.objects.count())
        took = []
        for _ in range(SAMPLES):
            site.answer(site.send(SAMPLE))
            polled = site.poll(rounds=1)
            assert polled.applied == SAMPLE, polled
            took.append(1000 / polled.rate)
        # Take the fastest round, because the machine may be busy with other work in some.
        costs.append(min(took))
        report(
            f"cost of an ack beside {exports} exports",
            fastest_ms=round(min(took), 3),
            median_ms=round(statistics.median(took), 3),
            rounds=SAMPLES,
        )
    ratio = costs[1] / costs[0]
    report(f"the same, {MANY} to {FEW}", ratio=round(ratio, 2), target=1.5, met=ratio < 1.5)


def _beside_processed(site: Site) -> None:
    _fill(site.acks / "processed", "ack_sales_order_{:08x}_20250101_000000_00000000.json")
    took = [1000 * seconds for seconds in site.poll(rounds=IDLE_POLLS).seconds[1:]]
    median = statistics.median(took)
    report(
        f"poll of an empty ack folder beside {OTHERS} files in processed/",
        median_ms=round(median, 1),
        max_ms=round(max(took), 1),
        target_ms=50,
        met=median < 50,
    )


def _among_foreign(site: Site) -> None:
    _fill(site.acks, "stock_report_{:08x}.csv")
    site.answer(site.send(AMONG_OTHERS))
    polled = site.poll(rounds=1)
    interval = settings.ACK_POLL_INTERVAL_SECONDS
    report(
        f"poll of {AMONG_OTHERS} acks among {OTHERS} foreign files",
        seconds=round(polled.seconds[0], 2),
        applied=polled.applied,
        target_s=interval,
        met=polled.seconds[0] < interval and polled.applied == AMONG_OTHERS,
    )


def _fill(folder: Path, name: str) -> None:
    for number in range(OTHERS):
        (folder / name.format(number)).touch()
