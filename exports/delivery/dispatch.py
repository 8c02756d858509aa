"""Dispatch: a worker is woken when a connection has something to do. Rows remain the truth."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django_q.tasks import async_task

from connectors import ownership
from connectors.models import ErpConnection
from exports.delivery import bulkhead
from exports.models import ErpExport
from kernel.db import Now, db_now

# The delivery clears the mark, so at most one waits in the queue; later than this it is lost.
_LOST_AFTER = timedelta(seconds=60)
# The same for polls, which may wait behind many others.
_POLL_LOST_AFTER = timedelta(minutes=10)


def wake(connection_id: UUID) -> bool:
    """Enqueue a delivery unless one is waiting. Return whether it was enqueued."""
    now = db_now()
    not_enqueued = ErpConnection.objects.filter(
        Q(enqueued_at=None) | Q(enqueued_at__lte=now - _LOST_AFTER)
    )
    if not not_enqueued.filter(id=connection_id).update(enqueued_at=now):
        return False
    async_task("worker.tasks.deliver", str(connection_id))
    return True


def wake_after_commit(connection_id: UUID) -> None:
    """Wake a worker once the present transaction is committed.

    An error here must not make the committed change look failed: the worker finds it by itself.
    """
    # Not a partial: Django wants a qualified name to report a failure by.
    transaction.on_commit(lambda: wake(connection_id), robust=True)


def poll_now(connection_id: UUID) -> None:
    """Have the acks of a connection read without waiting for its turn."""
    ErpConnection.objects.filter(id=connection_id).update(poll_due_at=Now())
    wake_due_polls(connection_id)


def wake_due_polls(*only: UUID) -> int:
    """Enqueue a poll for each connection, or `only` some, whose next is due; return how many."""
    now = db_now()
    unanswered = ErpExport.objects.filter(
        erp_connection=OuterRef("id"), status=ErpExport.Status.SENT
    )
    due = ErpConnection.objects.filter(
        ownership.is_ours(),
        Q(retry_at=None) | Q(retry_at__lte=now),
        Q(active=True) | Exists(unanswered),
        Q(poll_enqueued_at=None) | Q(poll_enqueued_at__lte=now - _POLL_LOST_AFTER),
        poll_due_at__lte=now,
    )
    if only:
        due = due.filter(id__in=only)
    next_at = now + timedelta(seconds=settings.ACK_POLL_INTERVAL_SECONDS)
    count = 0
    for key in due.values_list("id", flat=True):
        # Whoever moves the date rings.
        mine = ErpConnection.objects.filter(id=key, poll_due_at__lte=now)
        if mine.update(poll_due_at=next_at, poll_enqueued_at=now):
            async_task("worker.tasks.poll_acks", str(key))
            count += 1
    return count


def due_connections() -> QuerySet[ErpConnection]:
    """Connections that have due exports, are not paused, not put off and not being served."""
    now = db_now()
    due = ErpExport.objects.filter(
        erp_connection=OuterRef("id"),
        status=ErpExport.Status.PENDING,
        next_attempt_at__lte=now,
    )
    return ErpConnection.objects.filter(
        ownership.is_ours(),
        Q(retry_at=None) | Q(retry_at__lte=now),
        Q(lease_until=None) | Q(lease_until__lte=now),
        Exists(due),
        paused_at=None,
    )


def wake_due_connections(*only: UUID) -> int:
    """Ring the connections that have something to do, all or `only` some; return how many."""
    due = due_connections()
    if only:
        due = due.filter(id__in=only)
    fast = due.exclude(bulkhead.DEGRADED).values_list("id", flat=True)
    degraded = due.filter(bulkhead.DEGRADED).order_by(F("retry_at").asc(nulls_first=True))
    chosen = degraded.values_list("id", flat=True)[: bulkhead.free_slots()]
    return sum(wake(key) for key in [*fast, *chosen])
