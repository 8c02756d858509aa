"""Order snapshots: orders become the frozen values that cross the port."""

from accounts.models import Org
from connectors.port import (
    CustomerSnapshot,
    LineSnapshot,
    OrderSnapshot,
    OrgSnapshot,
    SourceDocumentSnapshot,
)
from orders.models import DraftOrder


def org_snapshot(org: Org) -> OrgSnapshot:
    return OrgSnapshot(id=org.id, slug=org.slug)


def order_snapshot(order: DraftOrder) -> OrderSnapshot:
    """Freeze an approved order. Its customer, lines and approver must exist."""
    assert order.customer and order.approved_at and order.approved_by
    document = order.source_document
    return OrderSnapshot(
        id=order.id,
        approved_at=order.approved_at,
        approved_by=order.approved_by.contact,
        customer=CustomerSnapshot(
            id=order.customer.id,
            erp_customer_number=order.customer.erp_customer_number,
            name=order.name_of_customer,
        ),
        external_order_number=order.external_order_number or None,
        order_date=order.order_date,
        currency=order.currency,
        requested_delivery_date=order.requested_delivery_date,
        notes=order.notes or None,
        source_document=SourceDocumentSnapshot(
            id=document.id, file_name=document.file_name, sha256=document.sha256
        )
        if document
        else None,
        lines=tuple(
            LineSnapshot(
                line_no=line.line_no,
                internal_sku=line.internal_sku,
                qty=line.qty,
                uom=line.uom,
                unit_price=line.unit_price,
                currency=line.currency or None,
                customer_sku_raw=line.customer_sku_raw or None,
                description=line.description or None,
            )
            for line in order.lines.all()
        ),
    )
