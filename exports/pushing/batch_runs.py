"""Batch runs: workers carry batches out, a few orders at a time.

What becomes of the orders and what the batch says of it are written in one transaction: a crash
repeats nothing and loses nothing. The transaction locks the batch, so that two workers at once are
harmless; the lease only saves them the wait.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from accounts import audit
from accounts.audit import Action
from accounts.scoping import visible_orgs
from connectors.errors import ConnectorError
from exports.delivery import heartbeat
from exports.models import Batch, BatchItem, ErpExport
from exports.pushing.actions import DECISIONS, DecisionOutcome
from kernel.db import Now, db_now, retried
from kernel.errors import RuleViolation
from kernel.failpoints import failpoint
from kernel.logs import log_context
from kernel.request_context import acting_from
from orders.models import DraftOrderLine

logger = logging.getLogger(__name__)

CHUNK_ORDERS = 50
CHUNK_LINES = 10_000
# Deliveries and other batches wait behind it in the queue.
RUN_SECONDS = 5

_LEASE = timedelta(seconds=15)
_RING_LOST_AFTER = timedelta(seconds=60)


def wake_waiting() -> int:
    """Ring a worker for each batch that nobody does; return how many.

    Batches take at most half of the workers, in turns: deliveries need the others.
    """
    now = db_now()
    unfinished = Batch.objects.filter(finished_at=None)
    is_served = Q(lease_until__gt=now) | Q(enqueued_at__gt=now - _RING_LOST_AFTER)
    waiting = unfinished.exclude(is_served)
    longest_first = waiting.order_by(F("lease_until").asc(nulls_first=True), "created_at")
    free = max(1, heartbeat.count_processes() // 2) - unfinished.filter(is_served).count()
    with transaction.atomic():
        # Nobody has to wait for a worker that is slow, or frozen, in the middle of a few orders.
        unlocked = longest_first.select_for_update(skip_locked=True, no_key=True)
        chosen = list(unlocked.values_list("id", flat=True)[: max(0, free)])
        Batch.objects.filter(id__in=chosen).update(enqueued_at=now)
        for key in chosen:
            async_task("worker.tasks.run_batch", str(key))
    return len(chosen)


def run(batch_id: UUID) -> None:
    """Do a batch for a bounded time, unless another worker does. Raises only django.db.Error."""
    now = db_now()
    until = now + _LEASE
    free = Batch.objects.filter(Q(lease_until=None) | Q(lease_until__lte=now), finished_at=None)
    if not free.filter(id=batch_id).update(
        lease_until=until, enqueued_at=None, started_at=Coalesce("started_at", Now())
    ):
        return
    this = _Run(batch_id, until)
    ends = time.monotonic() + RUN_SECONDS
    try:
        # What becomes of the orders was asked for by the request that made the batch.
        here = audit.origin_of(Action.BATCH_CREATED, Batch(id=batch_id))
        with log_context(batch_id=batch_id), acting_from(here):
            while this.do_some() and time.monotonic() < ends:
                pass
    finally:
        this.release()


class _Run:
    """One worker doing a batch under its lease, whose end tells it from another worker's."""

    def __init__(self, batch_id: UUID, until: datetime) -> None:
        self._id = batch_id
        self._until = until

    def do_some(self) -> bool:
        """Do the next few orders. False: none is left, or it is no longer for this worker to do."""
        try:
            return self._step(CHUNK_ORDERS)
        except (OperationalError, InterfaceError):
            raise
        except Exception as e:  # noqa: BLE001  whose fault it is shows when they are done singly
            logger.warning("batch %s: %s; going on one by one", self._id, type(e).__name__)
        return all(self._do_one() for _ in range(CHUNK_ORDERS))

    def release(self) -> None:
        # Not to None: whoever had no turn for the longest time is next.
        self._held().update(lease_until=Now())

    def _do_one(self) -> bool:
        try:
            return self._step(1)
        except (OperationalError, InterfaceError):
            raise
        except Exception as e:  # noqa: BLE001  a defect of ours must not stop the others
            return self._step(1, failed_by=e)

    @retried
    def _step(self, size: int, *, failed_by: Exception | None = None) -> bool:
        now = db_now()
        until = now + _LEASE
        with transaction.atomic():
            # This locks the batch, too.
            if not self._held().update(lease_until=until):
                return False
            batch = Batch.objects.select_related("requested_by").get(id=self._id)
            waiting = batch.items.filter(outcome=BatchItem.Outcome.WAITING).order_by("id")
            items = _bounded(waiting[:size])
            if failed_by:
                _fail(items, failed_by)
            elif not _is_permitted(batch):
                _refuse(items)
            else:
                _carry_out(batch, items)
            for item in items:
                item.finished_at = now
            # An update: bulk_update() writes a CASE for each value and takes as long as the push.
            BatchItem.objects.bulk_create(
                items,
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=["outcome", "code", "message", "export", "finished_at"],
            )
            is_more = waiting.exists()
            if not is_more:
                Batch.objects.filter(id=self._id).update(finished_at=Now(), lease_until=None)
            failpoint("batch_step")
        self._until = until
        failpoint("batch_stepped")
        return is_more

    def _held(self) -> QuerySet[Batch]:
        return Batch.objects.filter(id=self._id, lease_until=self._until, finished_at=None)


def _bounded(items: Iterable[BatchItem]) -> list[BatchItem]:
    """The first of some items, as many as fit into memory; at least one."""
    items = list(items)
    lines = DraftOrderLine.objects.filter(order__in=[item.draft_order_id for item in items])
    numbers = dict(lines.order_by().values_list("order").annotate(Count("id")))
    totals = accumulate(numbers.get(item.draft_order_id, 0) for item in items)
    return [i for i, total in zip(items, totals, strict=True) if total <= CHUNK_LINES] or items[:1]


def _is_permitted(batch: Batch) -> bool:
    """Whether the person who asked for it still may."""
    person = batch.requested_by
    return (
        person.has_perm(DECISIONS[batch.action].permission)
        and visible_orgs(person).filter(id=batch.org_id).exists()
    )


def _refuse(items: Sequence[BatchItem]) -> None:
    refused = RuleViolation(
        "NOT_PERMITTED", _("The person who started the batch may not do this any more.")
    )
    for item in items:
        _note(item, refused)


def _fail(items: Sequence[BatchItem], cause: Exception) -> None:
    for item in items:
        error = ConnectorError("INTERNAL", detail=type(cause).__name__)
        logger.error(
            "batch %s: order %s: %s",
            item.batch_id,
            item.draft_order_id,
            error.log_line,
            exc_info=cause,
        )
        item.outcome = BatchItem.Outcome.FAILED
        item.code = error.code
        item.message = (
            f"{error.message} The order is as it was. Correlation id: {error.correlation_id}."
        )


def _carry_out(batch: Batch, items: Sequence[BatchItem]) -> None:
    outcomes = DECISIONS[batch.action].carry_out_many(
        {item.draft_order_id: item.content_sha256 for item in items},
        batch.requested_by,
        batch.confirm_warnings,
    )
    for item in items:
        _note(item, outcomes[item.draft_order_id])


def _note(item: BatchItem, outcome: DecisionOutcome) -> None:
    if isinstance(outcome, RuleViolation):
        item.outcome = BatchItem.Outcome.REFUSED
        item.code, item.message = outcome.code, outcome.message
    else:
        item.outcome = BatchItem.Outcome.DONE
        item.export = outcome if isinstance(outcome, ErpExport) else None
