"""The rules of exporting: push, retry, cancel."""

from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.models import User
from connectors import health
from connectors.errors import ConnectorError
from connectors.port import export_storage_key
from exports.inbox import open_conflict
from exports.models import ErpExport, ErpExportEvent
from exports.rendering import render_order
from exports.ring import ring_after_commit
from exports.transitions import advance
from orderflow.db import Now, db_now, retried
from orders import workflow
from orders.errors import Refused
from orders.models import DraftOrder

OrderStatus = DraftOrder.Status
Status = ErpExport.Status
UNSENT = Q(status=Status.PENDING, staged_path=None)


@retried
def push_order(order_id: UUID, *, actor: User) -> ErpExport:
    """Start the export of an approved order and return it.

    Raises Refused: LIVE_EXPORT, NOT_APPROVED, CHANGED_SINCE_APPROVAL, NO_CONNECTION,
    NOT_EXPORTABLE, OPEN_CONFLICT.
    """
    with transaction.atomic():
        order = _lock(order_id)
        if live := order.exports.filter(status__in=ErpExport.LIVE).first():
            raise Refused(
                "LIVE_EXPORT",
                f"Order {order} has an export already: {live.filename}, "
                f"{live.get_status_display()}.",
                export=live.id,
            )
        if order.status != OrderStatus.APPROVED:
            raise Refused(
                "NOT_APPROVED",
                f"Order {order} is {order.get_status_display()}; only approved orders are pushed.",
            )
        return _create_export(order, actor=actor)


@retried
def retry_order(order_id: UUID, *, actor: User) -> ErpExport:
    """Export an order again whose latest export failed: new row, new file name, same content.

    Raises Refused: NOT_FAILED, and what push_order raises.
    """
    with transaction.atomic():
        order = _lock(order_id)
        latest = order.exports.order_by("-created_at", "-id").first()
        if latest is None or latest.status != Status.FAILED:
            raise Refused(
                "NOT_FAILED",
                f"The latest export of order {order} is "
                f"{latest.get_status_display() if latest else 'missing'}; "
                "only a failed one can be retried.",
                export=latest and latest.id,
            )
        if order.status not in (OrderStatus.ERROR, OrderStatus.APPROVED):
            raise Refused(
                "NOT_APPROVED",
                f"Order {order} is {order.get_status_display()}: it was edited. "
                "Approve and push it again.",
            )
        return _create_export(order, actor=actor)


@retried
def cancel_export(export_id: UUID, *, actor: User, reason: str = "") -> None:
    """Take back an export of which nothing was staged; its order is approved again.

    Raises Refused (NOT_CANCELLABLE).
    """
    error = ConnectorError("CANCELLED")
    with transaction.atomic():
        cancelled = advance(
            [export_id],
            kind=ErpExportEvent.Kind.CANCELLED,
            where=UNSENT,
            actor=actor,
            details={export_id: {"reason": reason}},
            status=Status.FAILED,
            next_attempt_at=None,
            error_json=error.as_json(),
        )
        if not cancelled:
            raise Refused(
                "NOT_CANCELLABLE", "The export is on its way or finished: it cannot be cancelled."
            )
        workflow.transition(
            [ErpExport.objects.values_list("draft_order", flat=True).get(id=export_id)],
            expect=[OrderStatus.PUSHING],
            to=OrderStatus.APPROVED,
        )


@retried
def deliver_again(export_id: UUID, *, actor: User) -> None:
    """Try a waiting export again now, for instance after a person has removed what was in its way.

    Safe at any time: what was elected only rolls forward. Raises Refused (NOT_WAITING).
    """
    with transaction.atomic():
        if not advance(
            [export_id],
            kind=ErpExportEvent.Kind.REQUESTED,
            where=Q(status=Status.PENDING),
            actor=actor,
            next_attempt_at=Now(),
        ):
            raise Refused("NOT_WAITING", "Only a pending export can be delivered again.")
        connection_id = ErpExport.objects.values_list("erp_connection", flat=True).get(id=export_id)
        ring_after_commit(connection_id)


@retried
def deliver_waiting(connection_id: UUID, *, actor: User) -> int:
    """Try what waits on a connection again now; return how many exports had been put off.

    Those that need a decision go on waiting for it. Raises Refused (PAUSED).
    """
    with transaction.atomic():
        if not health.retry_now(connection_id):
            raise Refused("PAUSED", "The connection is paused. What waits goes when it resumes.")
        put_off = ErpExport.objects.filter(
            erp_connection=connection_id, status=Status.PENDING, next_attempt_at__gt=db_now()
        )
        moved = advance(
            list(put_off.values_list("id", flat=True)),
            kind=ErpExportEvent.Kind.REQUESTED,
            where=Q(status=Status.PENDING, next_attempt_at__isnull=False),
            actor=actor,
            next_attempt_at=Now(),
        )
        ring_after_commit(connection_id)
    return len(moved)


def _lock(order_id: UUID) -> DraftOrder:
    return (
        DraftOrder.objects.select_for_update(of=["self"])
        .select_related("org", "customer", "source_document", "approved_by")
        # Read once: what is compared with the approval is what is rendered.
        .prefetch_related("lines")
        .get(id=order_id)
    )


def _create_export(order: DraftOrder, *, actor: User) -> ErpExport:
    """Freeze the locked order as an export; after commit, ring."""
    if conflict := open_conflict(order.id):
        raise Refused(
            "OPEN_CONFLICT",
            f"The ERP has answered order {order} in two ways, last by {conflict.filename}. "
            "Decide in the ack inbox which answer counts.",
            ack=conflict.id,
        )
    connection, document = render_order(order)
    export = ErpExport.objects.create(
        org=order.org,
        erp_connection=connection,
        draft_order=order,
        export_format_version=connection.connector.export_format_version,
        export_storage_key=export_storage_key(order.org_id, document.sha256),
        filename=document.filename,
        payload=document.content,
        payload_sha256=document.sha256,
        payload_size=len(document.content),
        requested_by=actor,
    )
    ErpExportEvent.objects.create(
        export=export, kind=ErpExportEvent.Kind.CREATED, status=export.status, actor=actor
    )
    workflow.transition(
        [order.id], expect=[OrderStatus.APPROVED, OrderStatus.ERROR], to=OrderStatus.PUSHING
    )
    ring_after_commit(connection.id)
    return export
