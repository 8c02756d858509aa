"""One run: start everything, inject faults, end them, wait for all exports, check."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from django.db import DatabaseError, connection

from accounts.models import User
from chaos.checker import check, watch_the_database
from chaos.crew import Crew
from chaos.nemesis import Nemesis
from chaos.plan import Plan
from chaos.site import Site, a_site
from chaos.soak import Gauge
from connectors import circuit_breaker
from connectors.models import ErpConnection
from exports.delivery import cleanup
from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org
from tests.support.servers import Postgres
from tests.support.servers.process import scratch_folder

_RECOVERY_SECONDS = 60
_KILL_EVERY = 0.25
_STOP_EVERY = 1.5
T = TypeVar("T")


def run(plan: Plan, postgres: Postgres, dropzone_root: Path) -> dict[str, Any]:
    """Return the report: the numbers and, if an invariant was violated, a list "violated"."""
    began = time.monotonic()
    watch_the_database()
    with ExitStack() as stack:
        site = stack.enter_context(a_site(plan, dropzone_root))
        slugs = _clients(plan, site)
        crew = Crew(plan, slugs, site.exports, scratch_folder("notes"))
        stack.callback(crew.end)
        nemesis = Nemesis(plan, site, postgres)
        grown = _soak(plan, crew, nemesis, slugs) if plan.is_soak else []
        if not plan.is_soak:
            _inject_faults(plan, crew, nemesis, slugs)
        _recover(crew, nemesis, slugs)
        report: dict[str, Any] = {"mode": plan.mode, "protocol": plan.protocol}
        kills, stops = crew.kills, crew.stops
        _clean_up(site)
        findings = asdict(check(site, record=crew.record, ledger=crew.ledger, slugs=slugs))
        violated = grown + findings.pop("violated")
        if crew.crashed:
            violated.append(f"harness: {crew.crashed} processes ended with an error")
        report |= {"orders": findings.pop("orders"), "kills": kills, "stops": stops, **findings}
        report |= {
            "evidence": _evidence(slugs),
            "kills_at": dict(Counter(crew.history.read_text().splitlines()).most_common()),
            "nemesis": dict(nemesis.injected),
            "seconds": round(time.monotonic() - began, 1),
            "seed": plan.seed,
        }
        # The dropzones end with this run. The workers of the next one must not look for them.
        for erp in ErpConnection.objects.filter(org__slug__in=slugs).select_related("org"):
            actor = User.objects.get(username=erp.org.slug)
            circuit_breaker.pause(erp.id, reason="The run is over", actor=actor)
    return report | ({"violated": violated} if violated else {})


def _clients(plan: Plan, site: Site) -> list[str]:
    slugs = [f"{plan.mode}-{number}" for number in range(len(site.configs))]
    for slug, config in zip(slugs, site.configs, strict=True):
        org = an_org(slug)
        a_user(org, slug)
        a_connection(org, config)
    return slugs


def _inject_faults(plan: Plan, crew: Crew, nemesis: Nemesis, slugs: list[str]) -> None:
    chance = random.Random(plan.seed + 2)
    ends = time.monotonic() + plan.seconds
    next_kill = next_stop = next_look = 0.0
    while (now := time.monotonic()) < ends:
        crew.supervise()
        nemesis.step()
        if now >= next_kill:
            crew.kill_one()
            next_kill = now + chance.expovariate(1 / _KILL_EVERY)
        if now >= next_stop:
            crew.stop_one()
            next_stop = now + chance.expovariate(1 / _STOP_EVERY)
        if now >= next_look:
            next_look = now + 1
            is_enough = _query(lambda: _sent(slugs)) >= plan.orders
            # No fault of a run may pause a connection. A paused one would wait for a person, so
            # the run ends, and the checker reports its pending exports.
            if (is_enough and crew.kills >= plan.kills) or _query(lambda: _paused(slugs)):
                return
        time.sleep(0.01)


def _soak(plan: Plan, crew: Crew, nemesis: Nemesis, slugs: list[str]) -> list[str]:
    """Let one worker deliver all orders; return what has grown in it."""
    ends = time.monotonic() + plan.seconds
    crew.supervise(with_faults=False)
    time.sleep(1)
    gauge = Gauge(crew.pids[0])
    sent = 0
    next_look = 0.0
    while not crew.crashed and sent < plan.orders and (now := time.monotonic()) < ends:
        if now >= next_look:
            sent = _query(lambda: _sent(slugs))
            next_look = now + 1
            if gauge.is_due(sent):
                gauge.read(sent)
        nemesis.step()
        crew.supervise(with_faults=False)
        time.sleep(0.01)
    nemesis.clear()
    if not crew.crashed:
        gauge.read(sent)
    return gauge.violations()


def _recover(crew: Crew, nemesis: Nemesis, slugs: list[str]) -> None:
    """End all faults; wait until all exports are done, at most _RECOVERY_SECONDS."""
    nemesis.clear()
    kills, stops = crew.kills, crew.stops
    # Kill the workers first: a stopped one may hold a lock that the generator waits for.
    crew.kill_workers()
    crew.end_generator()
    ends = time.monotonic() + _RECOVERY_SECONDS
    while _query(lambda: _on_their_way(slugs)) and time.monotonic() < ends:
        crew.supervise(with_faults=False)
        time.sleep(0.05)
    crew.kill_workers()
    crew.kills, crew.stops = kills, stops


def _clean_up(site: Site) -> None:
    """Delete staging files. No process writes any more, but leases of killed workers still run."""
    ends = time.monotonic() + 5
    while site.staging_files() and time.monotonic() < ends:
        cleanup.clean_up(minimum_age=timedelta(0))
        time.sleep(0.1)


def _sent(slugs: list[str]) -> int:
    return ErpExport.objects.filter(org__slug__in=slugs, status=ErpExport.Status.SENT).count()


def _on_their_way(slugs: list[str]) -> bool:
    """Whether an export is pending that a worker, not a person, has to finish."""
    waiting = ErpExport.objects.filter(org__slug__in=slugs, status=ErpExport.Status.PENDING)
    return waiting.filter(next_attempt_at__isnull=False, erp_connection__paused_at=None).exists()


def _paused(slugs: list[str]) -> bool:
    return ErpConnection.objects.filter(org__slug__in=slugs, paused_at__isnull=False).exists()


def _evidence(slugs: list[str]) -> dict[str, int]:
    sent = ErpExport.objects.filter(org__slug__in=slugs, status=ErpExport.Status.SENT)
    return dict(Counter(sent.values_list("sent_evidence", flat=True)))


def _query(ask: Callable[[], T]) -> T:
    """Query the database; try again while its sessions are killed."""
    while True:
        try:
            return ask()
        except DatabaseError:
            connection.close()
            time.sleep(0.05)
