"""An approved order as the document that an export of it carries."""

from uuid import UUID

from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Document
from exports.snapshots import order_snapshot, org_snapshot
from orders.content import content_hash
from orders.errors import Refused
from orders.models import DraftOrder

_APPROVED = (
    DraftOrder.Status.APPROVED,
    DraftOrder.Status.PUSHING,
    DraftOrder.Status.PUSHED,
    DraftOrder.Status.ERROR,
)


def preview_order(order_id: UUID) -> Document:
    """Return what an export of the order would carry now.

    Raises Refused: NOT_APPROVED, and what render_order raises.
    """
    orders = DraftOrder.objects.select_related("org", "customer", "source_document", "approved_by")
    # With the lines in memory, what is compared with the approval is what is rendered.
    order = orders.prefetch_related("lines").get(id=order_id)
    if order.status not in _APPROVED:
        raise Refused(
            "NOT_APPROVED",
            f"Order {order} is {order.get_status_display()}; only approved orders have a document.",
        )
    return render_order(order)[1]


def render_order(order: DraftOrder) -> tuple[ErpConnection, Document]:
    """Return the connection that would take the order, and its document. No I/O but queries.

    Raises Refused: CHANGED_SINCE_APPROVAL, NO_CONNECTION, NOT_EXPORTABLE.
    """
    if content_hash(order) != order.approved_hash:
        raise Refused(
            "CHANGED_SINCE_APPROVAL",
            f"Order {order} or its customer has changed since it was approved. Approve it again.",
        )
    connection = order.org.erp_connections.filter(active=True).order_by("created_at").first()
    if connection is None:
        raise Refused(
            "NO_CONNECTION", f"{order.org} has no active ERP connection. Set one up first."
        )
    try:
        document = connection.connector.render(order_snapshot(order), org_snapshot(order.org))
    except ConnectorError as e:
        raise Refused(e.code, e.message) from e
    return connection, document
