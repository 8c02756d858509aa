"""Approval: people edit, approve and reject orders. An order with complete content is ready."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action
from accounts.models import User
from kernel.db import Now, retried
from kernel.errors import RuleViolation
from orders import lifecycle
from orders.content import blocking_reasons, content_hash, warnings
from orders.lifecycle import Event
from orders.models import Customer, DraftOrder

Status = DraftOrder.Status


@contextmanager
def editing(order_id: UUID, *, actor: User) -> Iterator[DraftOrder]:
    """Lock an order for a change of its content; recompute its readiness when the block ends.

    An edit that changes something cancels the approval: the order must be approved again. Raises
    RuleViolation (NOT_EDITABLE) while the order is on its way or done.
    """
    with transaction.atomic():
        order = DraftOrder.objects.select_for_update().get(id=order_id)
        if order.status not in DraftOrder.EDITABLE:
            raise RuleViolation(
                "NOT_EDITABLE",
                f"Order {order} has the status “{order.get_status_display()}” "
                "and can no longer be edited.",
            )
        approved = {
            "status": order.status,
            "approved_by": order.approved_by and order.approved_by.contact,
            "approved_at": order.approved_at,
        }
        before = content_hash(order) if order.approved_at else None
        yield order
        if before and before == content_hash(DraftOrder.objects.get(id=order.id)):
            return
        recompute_readiness(order.id, actor=actor)
        if before:
            audit.record(Action.APPROVAL_WITHDRAWN, order, actor=actor, before=approved)


def recompute_readiness(order_id: UUID, *, actor: User | None = None) -> None:
    """Set NEEDS_REVIEW or READY after a change of the content."""
    order = DraftOrder.objects.select_related("customer").get(id=order_id)
    event = Event.BLOCKED if blocking_reasons(order) else Event.COMPLETED
    lifecycle.apply(event, [order_id], actor=actor)


def customer_changed(customer: Customer) -> None:
    """Recompute the readiness of the orders that wait for this customer's data.

    Approved orders keep their approval. If the change affects them, a push or retry raises
    RuleViolation until they are approved again. Call it within a transaction.
    """
    waiting = (Status.NEEDS_REVIEW, Status.READY)
    orders = customer.draft_orders.filter(status__in=waiting)
    # Lock the orders before reading them, because one may be approved at this moment.
    for order_id, status in lifecycle.lock_orders(orders.values("id")).items():
        if status in waiting:
            recompute_readiness(order_id)


@retried
def approve(
    order_id: UUID,
    *,
    actor: User,
    confirm_warnings: bool = False,
    expected_sha256: str | None = None,
) -> DraftOrder:
    """Approve an order and return it.

    The order must be ready, or be approved or failed with content (customer included) that has
    changed since its approval. `expected_sha256` is the hash of the content that the person has
    seen; other content is not approved. None approves any content, for callers without a page.

    Raises RuleViolation: NOT_READY with the blocking reasons; CHANGED_SINCE_SHOWN;
    NEEDS_CONFIRMATION with the warnings unless they are confirmed.
    """
    with transaction.atomic():
        # Lock only here; the next query re-reads, because a query that waited for a lock sees the
        # old joined rows.
        DraftOrder.objects.select_for_update().get(id=order_id)
        order = DraftOrder.objects.select_related("customer", "source_document").get(id=order_id)
        digest = content_hash(order)
        event = Event.APPROVED
        if order.approved_hash != digest and lifecycle.may_happen(
            Event.APPROVED_AGAIN, order.status
        ):
            event = Event.APPROVED_AGAIN
        if not lifecycle.may_happen(event, order.status):
            raise RuleViolation(
                "NOT_READY",
                _("Order %(order)s cannot be approved: its status is “%(status)s”.")
                % {"order": order, "status": order.get_status_display()},
            )
        if expected_sha256 is not None and expected_sha256 != digest:
            raise RuleViolation(
                "CHANGED_SINCE_SHOWN",
                f"Order {order}, its customer or its document has changed since it was shown. "
                "Look at it again, then approve it.",
            )
        if reasons := blocking_reasons(order):
            raise RuleViolation("NOT_READY", " ".join(reasons))
        if (found := warnings(order)) and not confirm_warnings:
            raise RuleViolation("NEEDS_CONFIRMATION", " ".join(found))
        audit.record(
            Action.ORDER_APPROVED,
            order,
            actor=actor,
            before={"status": order.status},
            after={"status": Status.APPROVED, "content_sha256": digest, "confirmed": found},
        )
        lifecycle.apply(
            event,
            [order_id],
            actor=actor,
            approved_by=actor,
            approved_at=Now(),
            approved_hash=digest,
        )
    order.refresh_from_db()
    return order


@retried
def reject(order_id: UUID, *, actor: User) -> None:
    """Reject an order; there is no way back. Raises RuleViolation (NOT_REJECTABLE)."""
    with transaction.atomic():
        order = DraftOrder.objects.select_for_update().get(id=order_id)
        if not lifecycle.apply(Event.REJECTED, [order_id], actor=actor):
            raise RuleViolation(
                "NOT_REJECTABLE",
                _("The order cannot be rejected: it was pushed or rejected already."),
            )
        audit.record(
            Action.ORDER_REJECTED,
            order,
            actor=actor,
            before={"status": order.status},
            after={"status": Status.REJECTED},
        )
