"""Rendering: an approved order becomes the document that its export carries."""

from uuid import UUID

from django.db.models import QuerySet

from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Document
from exports.pushing.snapshots import order_snapshot, org_snapshot
from kernel.errors import RuleViolation
from orders.content import content_hash
from orders.models import DraftOrder

_APPROVED = (
    DraftOrder.Status.APPROVED,
    DraftOrder.Status.PUSHING,
    DraftOrder.Status.PUSHED,
    DraftOrder.Status.ERROR,
)


def preview_order(order_id: UUID) -> Document:
    """Return what an export of the order would carry now.

    Raises RuleViolation: NOT_APPROVED, and what render_order raises.
    """
    order = with_content(DraftOrder.objects.all()).get(id=order_id)
    if order.status not in _APPROVED or not order.approved_hash:
        raise RuleViolation(
            "NOT_APPROVED",
            f"Order {order} has the status “{order.get_status_display()}”"
            f"{'' if order.approved_hash else ' and no approval'}; "
            "only approved orders have a document.",
        )
    return render_order(order)[1]


def with_content(orders: QuerySet[DraftOrder]) -> QuerySet[DraftOrder]:
    """Have orders loaded with all that rendering reads.

    So what is compared with the approval is what is rendered.
    """
    return orders.select_related(
        "org", "customer", "source_document", "approved_by"
    ).prefetch_related("lines", "org__erp_connections")


def render_order(order: DraftOrder) -> tuple[ErpConnection, Document]:
    """Return the connection that would take an order `with_content`, and its document. No I/O.

    Raises RuleViolation: CHANGED_SINCE_APPROVAL, NO_CONNECTION, NOT_EXPORTABLE.
    """
    if content_hash(order) != order.approved_hash:
        raise RuleViolation(
            "CHANGED_SINCE_APPROVAL",
            f"Order {order} or its customer has changed since it was approved. Approve it again.",
        )
    active = [c for c in order.org.erp_connections.all() if c.active]
    if not active:
        raise RuleViolation(
            "NO_CONNECTION", f"{order.org} has no active ERP connection. Set one up first."
        )
    connection = min(active, key=lambda c: c.created_at)
    try:
        document = connection.connector.render(order_snapshot(order), org_snapshot(order.org))
    except ConnectorError as e:
        raise RuleViolation(e.code, e.message) from e
    return connection, document
