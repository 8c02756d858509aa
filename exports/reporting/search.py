"""Search: orders and exports by a number, a customer or a file name."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import OuterRef, Q, QuerySet, Subquery

from accounts.models import User
from accounts.scoping import visible_orgs
from connectors import registry
from exports.models import ErpExport
from orders.models import Customer, DraftOrder

MOST: Final = 50  # orders
_CUSTOMERS: Final = 10


def find_orders(
    user: User | AnonymousUser, text: str, *, in_exports: bool
) -> list[tuple[DraftOrder, ErpExport | None]]:
    """The orders that the user may see and that `text` may mean, each with its latest export.

    Whole order numbers come first, then whatever the exports say, if they may be searched, then
    beginnings of order numbers, then the newest orders of customers. At most MOST.
    """
    orgs = visible_orgs(user)
    orders = DraftOrder.objects.filter(org__in=orgs).order_by()
    customers = Customer.objects.filter(
        Q(erp_customer_number=text) | Q(name__istartswith=text), org__in=orgs
    ).values_list("id", flat=True)
    found = [_ids(orders.filter(external_order_number=text))]
    if in_exports:
        exports = ErpExport.objects.filter(org__in=orgs).order_by()
        found += [
            _ids(exports.filter(erp_order_id=text), "draft_order"),
            _ids(exports.filter(filename__in=_filenames(text)), "draft_order"),
        ]
    found += [
        _ids(orders.filter(external_order_number__startswith=text)),
        _ids(
            orders.filter(customer__in=list(customers[:_CUSTOMERS])).order_by("-created_at", "-id")
        ),
    ]
    return _with_exports([key for keys in found for key in keys], is_shown=in_exports)


def _filenames(text: str) -> set[str]:
    """The names of exports that a file name may mean: its own, or that of an export it answers."""
    subjects = (connector.ack_subject(text) for connector in registry.connectors())
    return {text, *(subject.export_filename for subject in subjects if subject)}


def _ids(rows: QuerySet[DraftOrder] | QuerySet[ErpExport], field: str = "id") -> list[UUID]:
    return list(rows.values_list(field, flat=True)[:MOST])


def _with_exports(
    keys: Iterable[UUID], *, is_shown: bool
) -> list[tuple[DraftOrder, ErpExport | None]]:
    latest = ErpExport.objects.filter(draft_order=OuterRef("pk")).order_by(*ErpExport.LIVE_FIRST)
    orders = (
        DraftOrder.objects.select_related("customer")
        .annotate(latest_export=Subquery(latest.values("id")[:1]))
        .in_bulk(list(dict.fromkeys(keys))[:MOST])
    )
    exports = (
        ErpExport.objects.select_related("erp_connection__paused_by")
        .defer("payload")
        .in_bulk([order.latest_export for order in orders.values()] if is_shown else [])
    )
    return [
        (orders[key], exports.get(orders[key].latest_export))
        for key in dict.fromkeys(keys)
        if key in orders
    ]
