"""The content of an order: is it complete, what is unusual about it, and its fingerprint."""

import hashlib
import json

from orders.models import DraftOrder


def blocking_reasons(order: DraftOrder) -> list[str]:
    """What keeps an order from being approved, as sentences; empty when it is ready."""
    reasons = []
    if order.customer is None:
        reasons.append("The order has no customer.")
    elif not order.customer.erp_customer_number:
        reasons.append(f"Customer {order.customer.name} has no ERP customer number.")
    if not order.currency:
        reasons.append("The order has no currency.")
    lines = list(order.lines.all())
    if not lines:
        reasons.append("The order has no lines.")
    for line in lines:
        if line.qty <= 0:
            reasons.append(f"Line {line.line_no}: the quantity must be more than 0.")
        if not line.uom:
            reasons.append(f"Line {line.line_no}: the unit of measure is missing.")
        if not line.internal_sku:
            reasons.append(f"Line {line.line_no}: the internal SKU is missing.")
    return reasons


def warnings(order: DraftOrder) -> list[str]:
    """What an approver has to confirm: another order that looks like this one."""
    if order.customer_id is None or not order.external_order_number:
        return []
    twins = (
        DraftOrder.objects.filter(
            org=order.org_id,
            customer=order.customer_id,
            external_order_number=order.external_order_number,
        )
        .exclude(id=order.id)
        .exclude(status=DraftOrder.Status.REJECTED)
    )
    return [
        f"Order {str(twin.id)[:8]} of {twin.created_at:%Y-%m-%d} ({twin.get_status_display()}), of "
        f"the same customer, has the same number {order.external_order_number}."
        for twin in twins.order_by("created_at")[:5]
    ]


def content_hash(order: DraftOrder) -> str:
    """SHA-256 of everything about an order that reaches the ERP, its customer included."""
    customer, document = order.customer, order.source_document
    content = [
        customer and [str(customer.id), customer.erp_customer_number, order.name_of_customer],
        document and [str(document.id), document.file_name, document.sha256],
        order.external_order_number,
        order.order_date and order.order_date.isoformat(),
        order.currency,
        order.requested_delivery_date and order.requested_delivery_date.isoformat(),
        order.notes,
        [
            [
                line.line_no,
                line.internal_sku,
                f"{line.qty:.6f}",
                line.uom,
                None if line.unit_price is None else f"{line.unit_price:.6f}",
                line.currency,
                line.customer_sku_raw,
                line.description,
            ]
            for line in order.lines.all()
        ],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
