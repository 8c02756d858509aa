"""The creation of whole orders, with the customers and source documents that they bring along."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Final, NotRequired, TypedDict, Unpack
from uuid import UUID

from django.db import transaction

from accounts.models import Org, User
from orders.approval import editing, recompute_readiness
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument


class CustomerData(TypedDict):
    """A customer as it comes with an order."""

    name: str
    erp_customer_number: NotRequired[str]


class SourceDocumentData(TypedDict):
    """The name and the fingerprint of the file that an order was read from."""

    file_name: str
    sha256: str


class LineData(TypedDict, total=False):
    """The fields of a line of an order."""

    line_no: int
    internal_sku: str
    customer_sku_raw: str
    qty: Decimal
    uom: str
    unit_price: Decimal | None
    currency: str
    description: str


class HeaderData(TypedDict, total=False):
    """The fields of an order that are its own."""

    external_order_number: str
    order_date: date | None
    currency: str
    requested_delivery_date: date | None
    notes: str


class _Columns(HeaderData):
    customer: Customer | None
    customer_name: str
    source_document: SourceDocument | None


_EMPTY: Final = HeaderData(
    external_order_number="", order_date=None, currency="", requested_delivery_date=None, notes=""
)


def create_order(
    org: Org,
    *,
    lines: Iterable[LineData],
    customer: CustomerData | None = None,
    source_document: SourceDocumentData | None = None,
    **header: Unpack[HeaderData],
) -> DraftOrder:
    """Return a new order. The data are valid fields of the models.

    A customer is found by its ERP number, without one by its name, and stays as it is stored; the
    order keeps the name that it came with. A source document is found by name and fingerprint.
    """
    with transaction.atomic():
        columns = _columns(org, customer, source_document, header)
        order = DraftOrder.objects.create(org=org, **columns)
        _add_lines(order, lines)
        recompute_readiness(order.id)
    order.refresh_from_db()
    return order


def replace_order(
    order_id: UUID,
    *,
    lines: Iterable[LineData],
    actor: User,
    customer: CustomerData | None = None,
    source_document: SourceDocumentData | None = None,
    **header: Unpack[HeaderData],
) -> None:
    """Give an order other content, as if it had been created with it.

    Other content cancels an approval. Raises RuleViolation (NOT_EDITABLE).
    """
    with editing(order_id, actor=actor) as order:
        columns = _columns(order.org, customer, source_document, {**_EMPTY, **header})
        DraftOrder.objects.filter(id=order.id).update(**columns)
        order.lines.all().delete()
        _add_lines(order, lines)


def _columns(
    org: Org,
    customer: CustomerData | None,
    source_document: SourceDocumentData | None,
    header: HeaderData,
) -> _Columns:
    """The columns of the order itself."""
    buyer = _find_or_create_customer(org, **customer) if customer else None
    is_other_name = buyer and customer and buyer.name != customer["name"]
    return {
        **header,
        "customer": buyer,
        "customer_name": customer["name"] if customer and is_other_name else "",
        "source_document": SourceDocument.objects.get_or_create(
            org=org,
            file_name=source_document["file_name"],
            sha256=source_document["sha256"],
        )[0]
        if source_document
        else None,
    }


def _add_lines(order: DraftOrder, lines: Iterable[LineData]) -> None:
    DraftOrderLine.objects.bulk_create(DraftOrderLine(order=order, **line) for line in lines)


def _find_or_create_customer(org: Org, *, name: str, erp_customer_number: str = "") -> Customer:
    if erp_customer_number:
        return Customer.objects.get_or_create(
            org=org, erp_customer_number=erp_customer_number, defaults={"name": name}
        )[0]
    # One row for all orders that wait for this customer's number, so that it is entered once.
    unnumbered = Customer.objects.filter(org=org, erp_customer_number="", name=name)
    return unnumbered.order_by("id").first() or Customer.objects.create(org=org, name=name)
