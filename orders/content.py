"""The content of an order: what it lacks, what is unusual, its value and its hash."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias
from uuid import UUID

from django.db.models import (
    BooleanField,
    Case,
    Count,
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

Content: TypeAlias = list[Any]

_PART_ROWS: Final = 10_000
_LINE_COLUMNS: Final = (
    "line_no",
    "internal_sku",
    "qty",
    "uom",
    "unit_price",
    "currency",
    "customer_sku_raw",
    "description",
)

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


def content_of(order: DraftOrder, lines: Iterable[Sequence[Any]] | None = None) -> Content:
    """Everything about an order that reaches the ERP, its customer included, ready for JSON.

    `lines`: the _LINE_COLUMNS of its lines, if they have been read already. Do not change the form
    of the content: approvals hold the hash of it.
    """
    lines = map(attrgetter(*_LINE_COLUMNS), order.lines.all()) if lines is None else lines
    customer, document = order.customer, order.source_document
    return [
        customer and [str(customer.id), customer.erp_customer_number, order.name_of_customer],
        document and [str(document.id), document.file_name, document.sha256],
        order.external_order_number,
        order.order_date and order.order_date.isoformat(),
        order.currency,
        order.requested_delivery_date and order.requested_delivery_date.isoformat(),
        order.notes,
        [
            [
                line_no,
                internal_sku,
                f"{qty:.6f}",
                uom,
                None if unit_price is None else f"{unit_price:.6f}",
                *rest,
            ]
            for line_no, internal_sku, qty, uom, unit_price, *rest in lines
        ],
    ]


def content_hash(order: DraftOrder) -> str:
    """SHA-256 of the content of an order."""
    return sha256_of(content_of(order))


def content_hashes(order_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The content hash of each of many orders, read in parts that fit into memory."""
    hashes = {}
    for part in _in_parts(order_ids):
        lines: defaultdict[UUID, list[Sequence[Any]]] = defaultdict(list)
        found = DraftOrderLine.objects.filter(order__in=part)
        # As tuples: making an object of each line takes longer than all the rest.
        for order_id, *line in found.values_list("order", *_LINE_COLUMNS):
            lines[order_id].append(line)
        orders = DraftOrder.objects.select_related("customer", "source_document")
        for order in orders.filter(id__in=part):
            hashes[order.id] = sha256_of(content_of(order, lines[order.id]))
    return hashes


def sha256_of(content: Content) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _in_parts(order_ids: Sequence[UUID]) -> Iterator[list[UUID]]:
    """Orders in parts of up to _PART_ROWS orders and lines; at least one order in each."""
    lines = DraftOrderLine.objects.filter(order__in=order_ids).order_by()
    counts = dict(lines.values_list("order").annotate(Count("id")))
    part: list[UUID] = []
    rows = 0
    for order_id in order_ids:
        added = 1 + counts.get(order_id, 0)
        if part and rows + added > _PART_ROWS:
            yield part
            part, rows = [], 0
        part.append(order_id)
        rows += added
    if part:
        yield part
