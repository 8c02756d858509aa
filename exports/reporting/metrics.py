"""Metrics for Prometheus. Everything is read from the database at the scrape.

So any of many processes tells the same, and a restart forgets nothing. What waits is counted along
indexes of what waits, what was ever done is read from the counters: no figure takes the longer for
what was delivered before. docs/metrics.md explains each.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet
from django_q.models import OrmQ
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from connectors import ownership
from connectors.models import ErpConnection
from exports.delivery import heartbeat
from exports.models import Counter, CounterProgress, ErpAck, ErpExport, ErpExportEvent, Worker
from exports.reporting.counters import BOUNDS, LONGER
from kernel.db import db_now
from notifications.models import Notification, Webhook

Status = ErpExport.Status

# How connections and webhooks are named: the id, which stays, and the org's name, for people.
_CONNECTION: Final = ("connection", "org")
_WEBHOOK: Final = ("webhook", "org")
_BACKLOG: Final = {"count": Count("*"), "oldest": Min("created_at")}
_OUTCOMES: Final = [o for o in Counter.Outcome if o is not Counter.Outcome.ATTEMPT_FAILED]

Names = Mapping[UUID, tuple[str, str]]
Samples = Iterable[tuple[tuple[str, ...], float]]


class LedgerCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        now = db_now()
        connections = list(
            ErpConnection.objects.select_related("org").defer("config_encrypted").order_by("id")
        )
        names = {c.id: (str(c.id), c.org.name) for c in connections}
        yield from _waiting(names, now)
        yield from _connections([c for c in connections if c.active], names, now)
        yield from _history(names)
        yield from _notifications(now)
        yield from _machinery(now)


REGISTRY = CollectorRegistry()
REGISTRY.register(LedgerCollector())


def _waiting(names: Names, now: datetime) -> Iterator[Metric]:
    for name, text, which in (
        ("pending", "Exports that wait to be sent.", Q(status=Status.PENDING)),
        ("undecided", "Exports that wait for a person's decision.", ErpExport.NEEDS_DECISION),
        (
            "awaited",
            "Sent exports whose answer has a deadline.",
            Q(status=Status.SENT, ack_due_at__isnull=False),
        ),
        ("overdue", "Sent exports whose answer is overdue.", ErpExport.OVERDUE),
    ):
        counts = _by_connection(ErpExport.objects.filter(which), Count("*"))
        samples = [(labels, counts.get(key, 0)) for key, labels in names.items()]
        yield _gauge(f"orderflow_exports_{name}", text, _CONNECTION, samples)
    pending = ErpExport.objects.filter(status=Status.PENDING)
    oldest = _by_connection(pending, Min("created_at"))
    yield _gauge(
        "orderflow_oldest_pending_age_seconds",
        "How long the oldest export that was not sent has waited; 0 if none waits.",
        _CONNECTION,
        [(labels, _age(oldest.get(key), now)) for key, labels in names.items()],
    )
    rows = (
        ErpAck.objects.filter(ErpAck.OPEN)
        .order_by()
        .values_list("erp_connection", "classification")
    )
    acks = {
        (key, classification): count
        for key, classification, count in rows.annotate(count=Count("*"))
    }
    yield _gauge(
        "orderflow_acks_open",
        "Answers of the ERP that wait for a person, by what is wrong with them.",
        (*_CONNECTION, "classification"),
        [
            ((*labels, classification), acks.get((key, classification), 0))
            for key, labels in names.items()
            for classification in ErpAck.TO_REVIEW
        ],
    )


def _connections(active: Iterable[ErpConnection], names: Names, now: datetime) -> Iterator[Metric]:
    yield _gauge(
        "orderflow_connection_paused",
        "Whether an active connection is paused; `reason` is an error code, or PERSON.",
        (*_CONNECTION, "reason"),
        [((*names[c.id], _pause_reason(c)), c.is_paused) for c in active],
    )
    yield _gauge(
        "orderflow_connection_failures",
        "How often in a row an active connection has not reached its server.",
        _CONNECTION,
        [(names[c.id], c.failures) for c in active],
    )
    yield _gauge(
        "orderflow_connection_poll_age_seconds",
        "Since all answers on an active connection were last read; missing if they never were.",
        _CONNECTION,
        [(names[c.id], _age(c.last_poll_at, now)) for c in active if c.last_poll_at],
    )


def _pause_reason(connection: ErpConnection) -> str:
    # What a person wrote stays out: labels are for few, short values.
    return "PERSON" if connection.paused_by_id else connection.pause_code


def _history(names: Names) -> Iterator[Metric]:
    counters: defaultdict[tuple[UUID, str], list[Counter]] = defaultdict(list)
    for counter in Counter.objects.order_by("erp_connection", "outcome", "label"):
        counters[counter.erp_connection_id, counter.outcome].append(counter)
    outcomes = CounterMetricFamily(
        "orderflow_exports",
        "What exports came to, ever.",
        labels=(*_CONNECTION, "outcome"),
    )
    failures = CounterMetricFamily(
        "orderflow_export_failures",
        "Exports that failed, ever, by error code.",
        labels=(*_CONNECTION, "code"),
    )
    attempts = CounterMetricFamily(
        "orderflow_attempt_failures",
        "Failed attempts to send an export, ever, by error code; more follow.",
        labels=(*_CONNECTION, "code"),
    )
    sending = HistogramMetricFamily(
        "orderflow_send_duration_seconds",
        "From the push of an order until its file was visible to the ERP.",
        labels=_CONNECTION,
    )
    answering = HistogramMetricFamily(
        "orderflow_ack_duration_seconds",
        "From the sending of an order until the ERP has accepted it.",
        labels=_CONNECTION,
    )
    for key, labels in names.items():
        for outcome in _OUTCOMES:
            count = sum(counter.count for counter in counters[key, outcome])
            outcomes.add_metric((*labels, outcome), count)
        for counter in counters[key, Counter.Outcome.FAILED]:
            failures.add_metric((*labels, counter.label), counter.count)
        for counter in counters[key, Counter.Outcome.ATTEMPT_FAILED]:
            attempts.add_metric((*labels, counter.label), counter.count)
        sending.add_metric(labels, *_distribution(counters[key, Counter.Outcome.SENT]))
        answering.add_metric(labels, *_distribution(counters[key, Counter.Outcome.ACKED]))
    yield from (outcomes, failures, attempts, sending, answering)
    counted = CounterProgress.objects.aggregate(Max("position", default=0))["position__max"]
    latest = ErpExportEvent.objects.aggregate(Max("id", default=0))["id__max"]
    yield GaugeMetricFamily(
        "orderflow_events_uncounted",
        "Events that the counters and histograms do not show yet, at most.",
        value=max(0, latest - counted),
    )


def _distribution(counters: Iterable[Counter]) -> tuple[list[tuple[str, int]], float]:
    """Cumulative buckets and the sum, as a histogram wants them."""
    buckets = [
        (str(bound), sum(t.count for t in counters if float(t.label) <= float(bound)))
        for bound in (*BOUNDS, LONGER)
    ]
    return buckets, sum((t.took.total_seconds() for t in counters), 0.0)


def _notifications(now: datetime) -> Iterator[Metric]:
    # One that a person has switched off owes nobody anything.
    in_use = Q(active=True) | Q(disabled_at__isnull=False)
    webhooks = Webhook.objects.filter(in_use).select_related("org").order_by("id")
    named = [((str(w.id), w.org.name), w) for w in webhooks.defer("config_encrypted")]
    rows = Notification.objects.filter(webhook_due_at__isnull=False).order_by().values_list("org")
    backlog = {org: rest for org, *rest in rows.annotate(**_BACKLOG)}
    yield _gauge(
        "orderflow_webhook_disabled",
        "Whether a webhook was disabled because its receiver failed for days or is gone.",
        _WEBHOOK,
        [(labels, webhook.disabled_at is not None) for labels, webhook in named],
    )
    yield _gauge(
        "orderflow_webhook_failures",
        "How often in a row nothing could be delivered to a webhook.",
        _WEBHOOK,
        [(labels, webhook.failures) for labels, webhook in named],
    )
    waiting = [(labels, backlog.get(webhook.org_id, (0, None))) for labels, webhook in named]
    yield _gauge(
        "orderflow_webhook_backlog",
        "Messages that wait to be delivered to a webhook.",
        _WEBHOOK,
        [(labels, count) for labels, (count, _) in waiting],
    )
    yield _gauge(
        "orderflow_webhook_oldest_age_seconds",
        "How old the oldest message is that waits for a webhook; 0 if none waits.",
        _WEBHOOK,
        [(labels, _age(oldest, now)) for labels, (_, oldest) in waiting],
    )
    unmailed = Notification.objects.filter(mail_due_at__isnull=False).aggregate(**_BACKLOG)
    yield GaugeMetricFamily(
        "orderflow_mail_backlog", "Notifications that wait to be mailed.", value=unmailed["count"]
    )
    yield GaugeMetricFamily(
        "orderflow_mail_oldest_age_seconds",
        "How old the oldest notification is that waits to be mailed; 0 if none waits.",
        value=_age(unmailed["oldest"], now),
    )


def _machinery(now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "orderflow_delivery_barred",
        "Whether nothing is delivered because the database is another installation's or a copy.",
        value=bool(ownership.denial_reason()),
    )
    yield GaugeMetricFamily(
        "orderflow_queue_tasks",
        "Tasks that wait for a worker or are being done.",
        value=OrmQ.objects.count(),
    )
    alive = heartbeat.alive()
    yield GaugeMetricFamily("orderflow_workers", "Workers that are alive.", value=alive.count())
    yield _gauge(
        "orderflow_worker_heartbeat_age_seconds",
        "Since a worker last said that it is alive; for a day after it has died.",
        ("host", "pid"),
        [
            ((host, str(pid)), _age(beat_at, now))
            for host, pid, beat_at in Worker.objects.order_by("host", "pid")
            .values_list("host", "pid")
            .annotate(Max("beat_at"))
        ],
    )
    unarchived = ErpExport.objects.filter(archived_at=None).aggregate(**_BACKLOG)
    yield GaugeMetricFamily(
        "orderflow_archive_backlog",
        "Exports that are not in the archive yet.",
        value=unarchived["count"],
    )
    yield GaugeMetricFamily(
        "orderflow_archive_oldest_age_seconds",
        "How old the oldest export is that is not in the archive yet; 0 if there is none.",
        value=_age(unarchived["oldest"], now),
    )


def _by_connection(exports: QuerySet[ErpExport], aggregate: Any) -> dict[UUID, Any]:
    rows = exports.order_by().values_list("erp_connection")
    return dict(rows.annotate(value=aggregate))


def _age(at: datetime | None, now: datetime) -> float:
    # A transaction may have begun a little before this clock was read.
    return max(0.0, (now - at).total_seconds()) if at else 0.0


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
