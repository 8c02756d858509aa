"""Batches: a decision about many orders, carried out by workers a few orders at a time.

What becomes of the orders and what the batch says of it are written in one transaction: a crash
repeats nothing and loses nothing. The transaction locks the batch, so that two workers at once are
harmless; the lease only saves them the wait.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Coalesce
from django_q.tasks import async_task

from accounts import audit
from accounts.audit import Action
from accounts.models import Org, User
from accounts.scoping import visible_orgs
from connectors.errors import ConnectorError
from exports.delivery import heartbeat
from exports.models import Batch, BatchItem, ErpExport
from exports.pushing.actions import DECISIONS, Outcome
from kernel.db import Now, db_now, retried
from kernel.errors import Refused
from kernel.failpoints import failpoint
from kernel.limits import MAX_LINES
from kernel.logs import about
from kernel.request_context import acting_from
from orders.content import content_hashes
from orders.models import DraftOrder, DraftOrderLine

logger = logging.getLogger(__name__)

MAX_BATCH_ORDERS = MAX_LINES
CHUNK_ORDERS = 50
CHUNK_LINES = 10_000
# Deliveries and other batches wait behind it in the queue.
RUN_SECONDS = 5

_LEASE = timedelta(seconds=15)
_RING_LOST_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is: numbers of orders."""

    state: Batch.State
    total: int
    waiting: int
    done: int
    refused: int
    failed: int
    cancelled: int

    @property
    def handled(self) -> int:
        return self.done + self.refused + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPreview:
    """What a batch would be about; `eligible` are the orders whose status allows the action."""

    action: str
    total: int
    eligible: int
    by_status: dict[str, int]


def preview_batch(*, action: str, orders: QuerySet[DraftOrder]) -> BatchPreview:
    """Count the orders that a batch would be about."""
    counts = orders.order_by().values_list("status").annotate(Count("id"))
    by_status: dict[str, int] = dict(counts)
    offered = DECISIONS[action].offered
    return BatchPreview(
        action=action,
        total=sum(by_status.values()),
        eligible=sum(count for status, count in by_status.items() if status in offered),
        by_status=by_status,
    )


def create_batch(
    org: Org,
    *,
    action: str,
    orders: QuerySet[DraftOrder],
    actor: User,
    confirm_warnings: bool = False,
    seen: Mapping[UUID, str] | None = None,
) -> Batch:
    """Have `orders`, all of them of `org`, worked off by a worker, the oldest first.

    `action` is a name of DECISIONS. `seen` are the hashes of the content that a page showed of the
    orders; None: there is no such page, what the orders contain now counts as seen.
    Raises Refused: NO_ORDERS, TOO_MANY_ORDERS.
    """
    with transaction.atomic():
        oldest_first = orders.order_by("created_at", "id").values_list("id", flat=True)
        chosen = list(oldest_first[: MAX_BATCH_ORDERS + 1])
        if not chosen:
            raise Refused("NO_ORDERS", "There is no order to do this with.")
        if len(chosen) > MAX_BATCH_ORDERS:
            raise Refused(
                "TOO_MANY_ORDERS", f"A batch takes up to {MAX_BATCH_ORDERS:,} orders. Choose fewer."
            )
        if not DECISIONS[action].compares_content:
            seen = {}
        elif seen is None:
            seen = content_hashes(chosen)
        batch = Batch.objects.create(
            org=org, action=action, requested_by=actor, confirm_warnings=confirm_warnings
        )
        BatchItem.objects.bulk_create(
            (
                BatchItem(batch=batch, draft_order_id=key, content_sha256=seen.get(key, ""))
                for key in chosen
            ),
            batch_size=1000,
        )
        audit.record(
            Action.BATCH_CREATED,
            batch,
            actor=actor,
            after={"orders": len(chosen), "confirm_warnings": confirm_warnings},
        )
        transaction.on_commit(ring_waiting, robust=True)
    batch.refresh_from_db()
    return batch


def progress(batch: Batch) -> Progress:
    """Count what became of the orders of a batch until now."""
    return progresses([batch])[batch.id]


def progresses(batches: Collection[Batch]) -> dict[UUID, Progress]:
    """The progress of some batches, by their ids."""
    items = BatchItem.objects.filter(batch__in=batches).order_by()
    counts: dict[UUID, Counter[str]] = {batch.id: Counter() for batch in batches}
    for batch_id, outcome, count in items.values_list("batch", "outcome").annotate(Count("id")):
        counts[batch_id][outcome] = count
    return {batch.id: _progress(batch, counts[batch.id]) for batch in batches}


def _progress(batch: Batch, counts: Counter[str]) -> Progress:
    return Progress(
        state=batch.state,
        total=counts.total(),
        waiting=counts[BatchItem.Outcome.WAITING],
        done=counts[BatchItem.Outcome.DONE],
        refused=counts[BatchItem.Outcome.REFUSED],
        failed=counts[BatchItem.Outcome.FAILED],
        cancelled=counts[BatchItem.Outcome.CANCELLED],
    )


@retried
def cancel(batch_id: UUID, *, actor: User) -> None:
    """Leave undone what still waits; what was done stays. Raises Refused (NOT_CANCELLABLE)."""
    with transaction.atomic():
        # Waits for the lock of a worker in the middle of a few orders.
        if not Batch.objects.filter(id=batch_id, finished_at=None).update(
            cancelled_at=Now(), cancelled_by=actor, finished_at=Now(), lease_until=None
        ):
            raise Refused("NOT_CANCELLABLE", "The batch is finished.")
        left = BatchItem.objects.filter(batch=batch_id, outcome=BatchItem.Outcome.WAITING).update(
            outcome=BatchItem.Outcome.CANCELLED, finished_at=Now()
        )
        batch = Batch.objects.get(id=batch_id)
        audit.record(Action.BATCH_CANCELLED, batch, actor=actor, after={"orders": left})


def ring_waiting() -> int:
    """Ring a worker for each batch that nobody does; return how many.

    Batches take at most half of the workers, in turns: deliveries need the others.
    """
    now = db_now()
    unfinished = Batch.objects.filter(finished_at=None)
    is_served = Q(lease_until__gt=now) | Q(rung_at__gt=now - _RING_LOST_AFTER)
    waiting = unfinished.exclude(is_served)
    longest_first = waiting.order_by(F("lease_until").asc(nulls_first=True), "created_at")
    free = max(1, heartbeat.count_processes() // 2) - unfinished.filter(is_served).count()
    with transaction.atomic():
        # Nobody has to wait for a worker that is slow, or frozen, in the middle of a few orders.
        unlocked = longest_first.select_for_update(skip_locked=True, no_key=True)
        chosen = list(unlocked.values_list("id", flat=True)[: max(0, free)])
        Batch.objects.filter(id__in=chosen).update(rung_at=now)
        for key in chosen:
            async_task("worker.tasks.run_batch", str(key))
    return len(chosen)


def run(batch_id: UUID) -> None:
    """Do a batch for a bounded time, unless another worker does. Raises only django.db.Error."""
    now = db_now()
    until = now + _LEASE
    free = Batch.objects.filter(Q(lease_until=None) | Q(lease_until__lte=now), finished_at=None)
    if not free.filter(id=batch_id).update(
        lease_until=until, rung_at=None, started_at=Coalesce("started_at", Now())
    ):
        return
    this = _Run(batch_id, until)
    ends = time.monotonic() + RUN_SECONDS
    try:
        # What becomes of the orders was asked for by the request that made the batch.
        here = audit.origin_of(Action.BATCH_CREATED, Batch(id=batch_id))
        with about(batch_id=batch_id), acting_from(here):
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
    refused = Refused("NOT_PERMITTED", "Whoever asked for it may not do this any more.")
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


def _note(item: BatchItem, outcome: Outcome) -> None:
    if isinstance(outcome, Refused):
        item.outcome = BatchItem.Outcome.REFUSED
        item.code, item.message = outcome.code, outcome.message
    else:
        item.outcome = BatchItem.Outcome.DONE
        item.export = outcome if isinstance(outcome, ErpExport) else None
