"""The content of an order: is it complete, what is unusual, what it is worth; its fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from django.db.models import (
    BooleanField,
    Case,
    DecimalField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    Subquery,
    Sum,
    When,
)

from orders.models import DraftOrder, DraftOrderLine

# Of a line, in the database: whether it keeps its order from being approved.
INCOMPLETE: Final = ExpressionWrapper(
    Q(qty__lte=0) | Q(uom="") | Q(internal_sku=""), output_field=BooleanField()
)

_lines = DraftOrderLine.objects.filter(order=OuterRef("pk")).order_by()
_has_unpriced_lines = Exists(
    _lines.filter(Q(unit_price=None) | ~Q(currency="") & ~Q(currency=OuterRef("currency")))
)
_worth = Sum(
    F("qty") * F("unit_price"), output_field=DecimalField(max_digits=40, decimal_places=12)
)
# Of an order, in the database: what it is worth in its currency; NULL unless all lines say it.
TOTAL: Final = Case(
    When(~_has_unpriced_lines, then=Subquery(_lines.values("order").values(total=_worth)))
)


def blocking_reasons(order: DraftOrder, lines: Sequence[DraftOrderLine] | None = None) -> list[str]:
    """What keeps an order from being approved, as sentences; empty when it is ready.

    `lines`: those to look at, if not all.
    """
    reasons = []
    if order.customer is None:
        reasons.append("The order has no customer.")
    elif not order.customer.erp_customer_number:
        reasons.append(f"Customer {order.customer.name} has no ERP customer number.")
    if not order.currency:
        reasons.append("The order has no currency.")
    lines = list(order.lines.all()) if lines is None else lines
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
