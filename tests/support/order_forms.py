"""What the browser sends from the form of an order."""

from orders.models import DraftOrder


def line_data(order: DraftOrder | None = None, **changes: str) -> dict[str, str]:
    """What the browser sends for the lines: those of the order, and one empty row."""
    lines = list(order.lines.all()) if order else []
    data = {
        "lines-TOTAL_FORMS": str(len(lines) + 1),
        "lines-INITIAL_FORMS": str(len(lines)),
    }
    for i, line in enumerate(lines):
        data |= {
            f"lines-{i}-id": str(line.pk),
            f"lines-{i}-order": str(line.order_id),
            f"lines-{i}-line_no": str(line.line_no),
            f"lines-{i}-internal_sku": line.internal_sku,
            f"lines-{i}-qty": str(line.qty),
            f"lines-{i}-uom": line.uom,
            f"lines-{i}-unit_price": str(line.unit_price or ""),
        }
    return data | changes


def order_data(order: DraftOrder, **changes: str) -> dict[str, str]:
    return {
        "customer": str(order.customer_id),
        "external_order_number": order.external_order_number,
        "order_date": str(order.order_date or ""),
        "currency": order.currency,
        "notes": order.notes,
        **line_data(order),
        **changes,
    }
