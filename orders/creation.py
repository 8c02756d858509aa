"""The creation of whole orders, with the customers and source documents that they bring along."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from accounts.models import Org, User
from orders.approval import editing, recompute_readiness
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument

_EMPTY: Final = {
    "external_order_number": "",
    "order_date": None,
    "currency": "",
    "requested_delivery_date": None,
    "notes": "",
}


def create_order(org: Org, *, lines: Iterable[Mapping[str, Any]], **data: Any) -> DraftOrder:
    """Return a new order. The data are valid fields of the models.

    A customer is found by its ERP number, without one by its name, and stays as it is stored; the
    order keeps the name that it came with. A source document is found by name and fingerprint.
    """
    with transaction.atomic():
        order = DraftOrder.objects.create(org=org, **_header(org, **data))
        _add_lines(order, lines)
        recompute_readiness(order.id)
    order.refresh_from_db()
    return order


def replace_order(
    order_id: UUID, *, lines: Iterable[Mapping[str, Any]], actor: User, **data: Any
) -> None:
    """Give an order other content, as if it had been created with it.

    Other content cancels an approval. Raises Refused (NOT_EDITABLE).
    """
    with editing(order_id, actor=actor) as order:
        header = _EMPTY | _header(order.org, **data)
        DraftOrder.objects.filter(id=order.id).update(**header)
        order.lines.all().delete()
        _add_lines(order, lines)


def _header(
    org: Org,
    *,
    customer: Mapping[str, str] | None = None,
    source_document: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The fields of the order itself."""
    buyer = _find_or_create_customer(org, **customer) if customer else None
    is_other_name = buyer and customer and buyer.name != customer["name"]
    return {
        "customer": buyer,
        "customer_name": customer["name"] if customer and is_other_name else "",
        "source_document": SourceDocument.objects.get_or_create(
            org=org,
            file_name=source_document["file_name"],
            sha256=source_document["sha256"],
        )[0]
        if source_document
        else None,
        **fields,
    }


def _add_lines(order: DraftOrder, lines: Iterable[Mapping[str, Any]]) -> None:
    DraftOrderLine.objects.bulk_create(DraftOrderLine(order=order, **line) for line in lines)


def _find_or_create_customer(org: Org, *, name: str, erp_customer_number: str = "") -> Customer:
    if erp_customer_number:
        return Customer.objects.get_or_create(
            org=org, erp_customer_number=erp_customer_number, defaults={"name": name}
        )[0]
    # One row for all orders that wait for this customer's number, so that it is entered once.
    unnumbered = Customer.objects.filter(org=org, erp_customer_number="", name=name)
    return unnumbered.order_by("id").first() or Customer.objects.create(org=org, name=name)
