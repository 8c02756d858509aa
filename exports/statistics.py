"""How fast an ERP answers, and how much waits."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import F

from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport
from orderflow.db import db_now

PERIOD: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class AckLatency:
    """From the sending of an order to its acceptance: half were as fast as `p50`, 95 % as `p95`."""

    count: int
    p50: timedelta
    p95: timedelta


def ack_latency(connection: ErpConnection) -> AckLatency | None:
    """The latencies of the orders that were accepted within the last PERIOD; None: there are none.

    Percentiles by nearest rank, so each is one that occurred; counted by the database, which knows
    no percentiles in SQLite.
    """
    latencies = (
        connection.exports.filter(acked_at__gt=db_now() - PERIOD)
        .order_by(F("acked_at") - F("sent_at"))
        .values_list(F("acked_at") - F("sent_at"), flat=True)
    )
    if not (count := latencies.count()):
        return None
    p50, p95 = (latencies[(count * percent + 99) // 100 - 1] for percent in (50, 95))
    return AckLatency(count=count, p50=p50, p95=p95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many exports wait to be sent, how many for an overdue answer; answers for a person."""

    waiting: int
    overdue: int
    open_acks: int


def backlog(connection: ErpConnection) -> Backlog:
    return Backlog(
        waiting=connection.exports.filter(status=ErpExport.Status.PENDING).count(),
        overdue=connection.exports.filter(ErpExport.OVERDUE).count(),
        open_acks=connection.acks.filter(ErpAck.OPEN).count(),
    )
