"""Connection tests: a person starts one, a worker runs it, the page follows its steps."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django_q.tasks import async_task

from accounts import audit, throttling
from accounts.audit import Action
from accounts.models import User
from connectors import circuit_breaker, ownership
from connectors.models import ConnectionTest, ErpConnection
from connectors.port import ReportStep
from exports.delivery import bulkhead
from kernel.db import Now, db_now
from kernel.errors import RuleViolation

# A test that has not ended by then was lost with its worker.
_LOST_AFTER = timedelta(minutes=3)
_RING_AGAIN = timedelta(seconds=3)
# More would be a way to scan a network.
_TESTS_PER_MINUTE = 10


def request_test(connection: ErpConnection, *, actor: User) -> ConnectionTest:
    """Ask a worker for a test; return the one that is on its way already, if there is one.

    Raises RuleViolation: OTHER_INSTANCE; TOO_MANY_TESTS with the seconds to wait as `retry_after`.
    """
    if denial_reason := ownership.denial_reason():
        raise RuleViolation("OTHER_INSTANCE", denial_reason)
    if wait := throttling.count(
        "connection tests", str(actor.pk), limit=_TESTS_PER_MINUTE, seconds=60
    ):
        raise RuleViolation(
            "TOO_MANY_TESTS",
            f"You have asked for too many connection tests. Try again in {wait} s.",
            retry_after=wait,
        )
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection.id)
        test = row.tests.filter(_unfinished()).first()
        if test is None:
            test = ConnectionTest.objects.create(connection=row, requested_by=actor)
            audit.record(Action.CONNECTION_TESTED, connection, actor=actor)
            if not row.last_test_success:
                # It may be as silent as it was: that must not hold up others.
                circuit_breaker.note_degraded(row.id)
        key = test.id
        transaction.on_commit(lambda: wake_waiting(key), robust=True)
    return test


def wake_waiting(*only: UUID) -> int:
    """Ring a worker for the tests that nobody has begun, all or `only` some; return how many."""
    now = db_now()
    waiting = ConnectionTest.objects.filter(
        _unfinished(), Q(enqueued_at=None) | Q(enqueued_at__lt=now - _RING_AGAIN), started_at=None
    )
    if only:
        waiting = waiting.filter(id__in=only)
    keys = list(waiting.values_list("id", flat=True))
    ConnectionTest.objects.filter(id__in=keys).update(enqueued_at=now)
    for key in keys:
        async_task("worker.tasks.test_connection", str(key))
    return len(keys)


def run(test_id: UUID) -> None:
    """Do a test that no worker has begun. It stays enqueued while the connection is served."""
    test = ConnectionTest.objects.select_related("connection").get(id=test_id)
    held = bulkhead.acquire(test.connection_id)
    if held is None:
        return
    this = ConnectionTest.objects.filter(id=test_id)
    steps: list[dict[str, Any]] = []

    def tell(step: ReportStep) -> None:
        steps.append(step.as_json())
        this.update(steps=steps)
        held.renew()

    try:
        if not this.filter(started_at=None).update(started_at=Now()):
            return
        success = False
        try:
            success = circuit_breaker.run_test(test.connection, on_step=tell).success
        finally:
            this.update(finished_at=Now(), success=success)
    finally:
        held.release()


def is_lost(test: ConnectionTest) -> bool:
    """Whether a test will never end: its worker was killed, or there is none."""
    return test.finished_at is None and test.requested_at < db_now() - _LOST_AFTER


def _unfinished() -> Q:
    return Q(finished_at=None, requested_at__gt=db_now() - _LOST_AFTER)
