"""Batches: a decision about many orders is previewed, made, counted and cancelled."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action
from accounts.models import Org, User
from exports.models import Batch, BatchItem
from exports.pushing.actions import DECISIONS
from exports.pushing.batch_runs import wake_waiting
from kernel.db import Now, retried
from kernel.errors import RuleViolation
from kernel.limits import MAX_LINES
from orders.content import content_hashes
from orders.models import DraftOrder

MAX_BATCH_ORDERS = MAX_LINES


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


@retried
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
    Raises RuleViolation: NO_ORDERS, TOO_MANY_ORDERS.
    """
    with transaction.atomic():
        oldest_first = orders.order_by("created_at", "id").values_list("id", flat=True)
        chosen = list(oldest_first[: MAX_BATCH_ORDERS + 1])
        if not chosen:
            raise RuleViolation(
                "NO_ORDERS", _("No order was found. Choose other orders or another filter.")
            )
        if len(chosen) > MAX_BATCH_ORDERS:
            raise RuleViolation(
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
        transaction.on_commit(wake_waiting, robust=True)
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
    return {
        batch.id: Progress(
            state=batch.state,
            total=counts[batch.id].total(),
            **{outcome.lower(): counts[batch.id][outcome] for outcome in BatchItem.Outcome},
        )
        for batch in batches
    }


@retried
def cancel(batch_id: UUID, *, actor: User) -> None:
    """Cancel what still waits; what is done stays. Raises RuleViolation (NOT_CANCELLABLE)."""
    with transaction.atomic():
        # Waits for the lock of a worker in the middle of a few orders.
        if not Batch.objects.filter(id=batch_id, finished_at=None).update(
            cancelled_at=Now(), cancelled_by=actor, finished_at=Now(), lease_until=None
        ):
            raise RuleViolation("NOT_CANCELLABLE", "The batch is finished.")
        left = BatchItem.objects.filter(batch=batch_id, outcome=BatchItem.Outcome.WAITING).update(
            outcome=BatchItem.Outcome.CANCELLED, finished_at=Now()
        )
        batch = Batch.objects.get(id=batch_id)
        audit.record(Action.BATCH_CANCELLED, batch, actor=actor, after={"orders": left})
