"""What django-q2 calls: ids in, nothing out. The rows decide what there is to do."""

from uuid import UUID

from accounts import idempotency, throttling
from connectors import health, instance
from exports import (
    acks,
    archive,
    batches,
    connection_tests,
    delivery,
    janitor,
    leftovers,
    retention,
    ring,
    tallies,
)


def deliver(connection_id: str) -> None:
    delivery.deliver(UUID(connection_id))
    ring.ring_due_connections(UUID(connection_id))


def ring_due_connections() -> None:
    ring.ring_due_connections()


def poll_acks(connection_id: str) -> None:
    acks.poll(UUID(connection_id))


def ring_due_polls() -> None:
    ring.ring_due_polls()


def archive_pending() -> None:
    archive.archive_pending()


def count_events() -> None:
    tallies.count_events()


def run_batch(batch_id: str) -> None:
    batches.run(UUID(batch_id))
    batches.ring_waiting()


def ring_waiting_batches() -> None:
    batches.ring_waiting()


def test_connection(test_id: str) -> None:
    connection_tests.run(UUID(test_id))
    ring.ring_due_connections()


def retest_connections() -> None:
    connection_tests.ring_waiting()
    health.retest_due()


def tidy() -> None:
    janitor.give_up()
    janitor.sweep()
    throttling.prune()
    idempotency.prune()
    leftovers.prune()


def prune() -> None:
    if not instance.objection():
        retention.prune()
