"""Ack latencies: the percentiles of what was accepted lately, on each database."""

from datetime import timedelta

import pytest

from connectors.models import ErpConnection
from exports.models import ErpExport
from exports.reporting.statistics import ack_latency
from kernel.db import db_now
from tests.support.builders import a_connection, a_user, an_org, some_exports

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


def accepted_after(remote: ErpConnection, *seconds: float, ago: timedelta = timedelta()) -> None:
    """Exports that the ERP accepted so many seconds after they were sent."""
    first = ErpExport.objects.count()
    ann = a_user(remote.org, f"ann-{first}")
    exports = some_exports(remote.org, ann, len(seconds), first=first)
    acked_at = db_now() - ago
    for export, latency in zip(exports, seconds, strict=True):
        ErpExport.objects.filter(id=export.id).update(
            status="ACKED",
            sent_evidence="OBSERVED",
            sent_at=acked_at - timedelta(seconds=latency),
            acked_at=acked_at,
        )


def percentiles(remote: ErpConnection) -> tuple[int, float, float]:
    latency = ack_latency(remote)
    assert latency
    return latency.count, latency.p50.total_seconds(), latency.p95.total_seconds()


def test_without_answers_there_is_nothing_to_say(remote: ErpConnection) -> None:
    some_exports(remote.org, a_user(remote.org))
    assert ack_latency(remote) is None


def test_one_answer_is_every_percentile(remote: ErpConnection) -> None:
    accepted_after(remote, 7.25)
    assert percentiles(remote) == (1, 7.25, 7.25)


def test_percentiles_are_latencies_that_occurred(remote: ErpConnection) -> None:
    accepted_after(remote, 4, 86_400, 1, 2, 3)
    assert percentiles(remote) == (5, 3, 86_400)


def test_one_in_twenty_may_be_slower_than_the_95th(remote: ErpConnection) -> None:
    accepted_after(remote, *range(20, 0, -1))
    assert percentiles(remote) == (20, 10, 19)


def test_only_what_this_connection_was_answered_lately_counts(remote: ErpConnection) -> None:
    accepted_after(remote, 1)
    accepted_after(remote, 100, ago=timedelta(days=8))
    other = a_connection(an_org("rival"), remote.config)
    accepted_after(other, 1000)
    assert percentiles(remote) == (1, 1, 1)
