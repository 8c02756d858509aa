"""The figures of the start page: what needs attention, and how deliveries go.

Every figure reads the current backlog or a period along an index, so that a long history makes
none slower. A user sees the figures of the user's organisations.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import TruncHour
from django.utils.timezone import localtime

from accounts.models import User
from accounts.scoping import visible
from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport, ErpExportEvent
from exports.reporting.statistics import AckLatency, ack_latencies
from orders.models import DraftOrder

SHOWN: Final = 50  # connections
SHOWN_UNMATCHED: Final = 5
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_HOURS: Final = 24
_DAYS: Final = 7
_NONE: Final = Value(0)

AnyUser = User | AnonymousUser


# The backlog.


def count_open_orders(user: AnyUser) -> dict[str, int]:
    """The number of open orders by status."""
    orders = DraftOrder.objects.filter(status__in=DraftOrder.OPEN)
    return _counted(visible(orders, user), "status")


def count_open_acks(user: AnyUser) -> dict[str, int]:
    """The number of acks to review by classification."""
    return _counted(visible(ErpAck.objects.filter(ErpAck.OPEN), user), "classification")


def latest_unmatched(user: AnyUser) -> list[ErpAck]:
    """The latest SHOWN_UNMATCHED acks to review that match no export."""
    acks = ErpAck.objects.filter(ErpAck.OPEN, classification=ErpAck.Classification.UNMATCHED)
    return list(visible(acks, user).only("filename", "seen_at")[:SHOWN_UNMATCHED])


def count_undecided(user: AnyUser) -> int:
    """The number of exports that need a decision."""
    return _exports(user).filter(ErpExport.NEEDS_DECISION).count()


def count_overdue(user: AnyUser) -> int:
    return _exports(user).filter(ErpExport.OVERDUE).count()


def count_paused(user: AnyUser) -> int:
    """The number of active connections that are paused."""
    return visible(ErpConnection.objects.filter(active=True, paused_at__isnull=False), user).count()


# Results.


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Results of exports in a period. `lost` of the `sent` ones have failed since."""

    sent: int = 0
    lost: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            sent=self.sent + other.sent,
            lost=self.lost + other.lost,
            failed=self.failed + other.failed,
        )

    @property
    def success(self) -> float | None:
        """The share that was sent and has not failed since, of all sent or failed; None if none.

        An export counts as failed at the time it failed. Cancelled exports do not count.
        """
        kept = self.sent - self.lost
        return kept / (kept + self.failed) if kept or self.failed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Hourly by hour and by day, the current ones last, none left out."""

    hours: Mapping[datetime, Counts]
    days: Mapping[datetime, Counts]

    @property
    def last_24_hours(self) -> Counts:
        return sum(self.hours.values(), Counts())

    @property
    def last_7_days(self) -> Counts:
        return sum(self.days.values(), Counts())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionHealth:
    """The health of a connection. The latency is of the last day: a week takes long to sort."""

    connection: ErpConnection
    traffic: Traffic
    oldest_waiting: datetime | None
    last_sent: datetime | None
    last_ack: datetime | None
    latency: AckLatency | None


def traffic(user: AnyUser, *, now: datetime) -> Traffic:
    """The total of all connections that the user may see."""
    connections = visible(ErpConnection.objects.all(), user).values("id")
    return _traffic(_hourly_counts(connections, now)[None], now)


def connection_health(user: AnyUser, *, now: datetime) -> list[ConnectionHealth]:
    """The first SHOWN connections; those that send nothing come first."""
    here = {"erp_connection": OuterRef("pk")}
    acks = ErpAck.objects.filter(org=OuterRef("org"), **here).order_by("-seen_at", "-id")
    sent = ErpExport.objects.filter(sent_at__isnull=False, **here).order_by("-sent_at")
    waiting = ErpExport.objects.filter(status=ErpExport.Status.PENDING, **here)
    connections: list[Any] = list(
        visible(ErpConnection.objects.all(), user)
        .select_related("org", "paused_by")
        .defer("config_encrypted")
        .annotate(
            oldest_waiting=Subquery(waiting.order_by("created_at").values("created_at")[:1]),
            last_sent=Subquery(sent.values("sent_at")[:1]),
            last_ack=Subquery(acks.values("seen_at")[:1]),
        )
        .order_by(
            "-active",
            F("paused_at").asc(nulls_last=True),
            F("failing_since").asc(nulls_last=True),
            "org__name",
            "connector_type",
        )[:SHOWN]
    )
    ids = [connection.id for connection in connections]
    hourly = _hourly_counts(ids, now, "erp_connection")
    latencies = ack_latencies(ids, _DAY)
    return [
        ConnectionHealth(
            connection=connection,
            traffic=_traffic(hourly[connection.id], now),
            oldest_waiting=connection.oldest_waiting,
            last_sent=connection.last_sent,
            last_ack=connection.last_ack,
            latency=latencies.get(connection.id),
        )
        for connection in connections
    ]


Hourly = defaultdict[datetime, Counts]


def _hourly_counts(
    connections: Collection[UUID] | QuerySet[Any], now: datetime, *by: str
) -> defaultdict[UUID | None, Hourly]:
    """The results of this week by hour: by connection if asked for, otherwise under None."""
    since = _midnight(localtime(now)) - (_DAYS - 1) * _DAY
    sent = (
        ErpExport.objects.filter(erp_connection__in=connections, sent_at__gte=since)
        .values(*by, hour=TruncHour("sent_at"))
        .annotate(
            sent=Count("*"),
            lost=Count("status", filter=Q(status=ErpExport.Status.FAILED)),
            failed=_NONE,
        )
    )
    failed = (
        ErpExportEvent.objects.filter(
            ErpExportEvent.FAILURE, at__gte=since, export__erp_connection__in=connections
        )
        .annotate(erp_connection=F("export__erp_connection"))
        .values(*by, hour=TruncHour("at"))
        .annotate(sent=_NONE, lost=_NONE, failed=Count("*"))
    )
    found: defaultdict[UUID | None, Hourly] = defaultdict(lambda: defaultdict(Counts))
    for row in chain(sent, failed):
        found[row.get("erp_connection")][row["hour"]] += Counts(
            sent=row["sent"], lost=row["lost"], failed=row["failed"]
        )
    return found


def _traffic(hourly: Hourly, now: datetime) -> Traffic:
    now = localtime(now)
    this_hour, today = now.replace(minute=0, second=0, microsecond=0), _midnight(now)
    hours = [this_hour - ago * _HOUR for ago in reversed(range(_HOURS))]
    days = dict.fromkeys((today - ago * _DAY for ago in reversed(range(_DAYS))), Counts())
    for hour, counts in hourly.items():
        days[_midnight(hour)] += counts
    return Traffic(hours={hour: hourly[hour] for hour in hours}, days=days)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _exports(user: AnyUser) -> QuerySet[ErpExport]:
    """Filtered by connection, because the indexes of a backlog begin with the connection."""
    return visible(ErpExport.objects.all(), user, path="erp_connection__org")


def _counted(rows: QuerySet[Any], field: str) -> dict[str, int]:
    return dict(rows.order_by().values_list(field).annotate(count=Count("*")))
