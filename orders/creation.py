"""New orders, with the customers and source documents that they bring along."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction

from accounts.models import Org
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument
from orders.workflow import recompute_readiness


def create_order(
    org: Org,
    *,
    lines: Iterable[Mapping[str, Any]],
    customer: Mapping[str, str] | None = None,
    source_document: Mapping[str, Any] | None = None,
    **header: Any,
) -> DraftOrder:
    """Return a new order. The data are valid fields of the models.

    A customer is found by its ERP number, without one by its name, and stays as it is stored; the
    order keeps the name that it came with. A source document is found by name and fingerprint.
    """
    with transaction.atomic():
        buyer = _find_or_create_customer(org, **customer) if customer else None
        is_other_name = buyer and customer and buyer.name != customer["name"]
        order = DraftOrder.objects.create(
            org=org,
            customer=buyer,
            customer_name=customer["name"] if customer and is_other_name else "",
            source_document=SourceDocument.objects.get_or_create(
                org=org,
                file_name=source_document["file_name"],
                sha256=source_document["sha256"],
            )[0]
            if source_document
            else None,
            **header,
        )
        DraftOrderLine.objects.bulk_create(DraftOrderLine(order=order, **line) for line in lines)
        recompute_readiness(order.id)
    order.refresh_from_db()
    return order


def _find_or_create_customer(org: Org, *, name: str, erp_customer_number: str = "") -> Customer:
    if erp_customer_number:
        return Customer.objects.get_or_create(
            org=org, erp_customer_number=erp_customer_number, defaults={"name": name}
        )[0]
    # One row for all orders that wait for this customer's number, so that it is entered once.
    unnumbered = Customer.objects.filter(org=org, erp_customer_number="", name=name)
    return unnumbered.order_by("id").first() or Customer.objects.create(org=org, name=name)
