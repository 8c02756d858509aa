"""Statistics of a connection: how fast the ERP acknowledges, and how much waits."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import Count, F, Q, Window
from django.db.models.functions import RowNumber

from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport
from kernel.db import db_now

PERIOD: Final = timedelta(days=7)
_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AckLatency:
    """From the sending of an order to its acceptance: half were as fast as `p50`, 95 % as `p95`."""

    count: int
    p50: timedelta
    p95: timedelta


def ack_latency(connection: ErpConnection) -> AckLatency | None:
    """The latencies of orders accepted within the last PERIOD; None: there are none."""
    return ack_latencies([connection.id], PERIOD).get(connection.id)


def ack_latencies(connection_ids: Collection[UUID], period: timedelta) -> dict[UUID, AckLatency]:
    """The same for many connections and any period, as far as there are any.

    Percentiles by nearest rank, so each is one that occurred; counted by the database, which knows
    no percentiles in SQLite.
    """
    at_50, at_95 = ((F("count") * percent + 99) / 100 for percent in (50, 95))
    rows = (
        ErpExport.objects.filter(erp_connection__in=connection_ids, acked_at__gt=db_now() - period)
        .annotate(
            latency=F("acked_at") - F("sent_at"),
            count=Window(Count("*"), partition_by="erp_connection"),
            rank=Window(RowNumber(), partition_by="erp_connection", order_by="latency"),
        )
        .filter(Q(rank=at_50) | Q(rank=at_95))
        .order_by("rank")
        .values_list("erp_connection", "count", "latency")
    )
    found = defaultdict(list)
    for connection_id, count, latency in rows:
        found[connection_id].append((count, latency))
    # The two ranks may be the same one.
    return {
        connection_id: AckLatency(count=ranked[0][0], p50=ranked[0][1], p95=ranked[-1][1])
        for connection_id, ranked in found.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many exports wait to be sent, how many for an overdue answer; answers for a person.

    `unmatched`: how many of these answers match no export; `latest` of them.
    """

    waiting: int
    overdue: int
    open_acks: int
    unmatched: int
    latest: tuple[ErpAck, ...]


def backlog(connection: ErpConnection) -> Backlog:
    unmatched = connection.acks.filter(ErpAck.OPEN, classification=ErpAck.Classification.UNMATCHED)
    return Backlog(
        waiting=connection.exports.filter(status=ErpExport.Status.PENDING).count(),
        overdue=connection.exports.filter(ErpExport.OVERDUE).count(),
        open_acks=connection.acks.filter(ErpAck.OPEN).count(),
        unmatched=unmatched.count(),
        latest=tuple(unmatched.defer("raw")[:_NAMED]),
    )
