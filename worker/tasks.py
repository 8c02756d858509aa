"""The tasks of the queue that do more than one thing or take an id. The rows decide what to do."""

from uuid import UUID

from accounts import idempotency, throttling
from connectors import circuit_breaker, ownership
from exports import connection_tests, retention
from exports.acks import poller
from exports.delivery import cleanup, dispatch, protocol
from exports.pushing import batch_runs
from worker import housekeeping


def deliver(connection_id: str) -> None:
    protocol.deliver(UUID(connection_id))
    dispatch.wake_due_connections(UUID(connection_id))


def poll_acks(connection_id: str) -> None:
    poller.poll(UUID(connection_id))


def run_batch(batch_id: str) -> None:
    batch_runs.run(UUID(batch_id))
    batch_runs.wake_waiting()


def test_connection(test_id: str) -> None:
    connection_tests.run(UUID(test_id))
    dispatch.wake_due_connections()


def retest_connections() -> None:
    connection_tests.wake_waiting()
    circuit_breaker.retest_due()


def tidy() -> None:
    cleanup.give_up()
    cleanup.clean_up()
    throttling.prune()
    idempotency.prune()
    housekeeping.prune()


def prune() -> None:
    if not ownership.denial_reason():
        retention.prune()
