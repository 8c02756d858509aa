"""The list of orders: its columns, its filters, its CSV."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from backoffice.badges import export_badge, order_badge
from backoffice.filters import ConditionFilter
from backoffice.lists import BoundedChangeList
from exports.models import ErpExport
from orders.content import INCOMPLETE, TOTAL, blocking_reasons
from orders.models import DraftOrder, DraftOrderLine

Status = DraftOrder.Status

_REASONS_SHOWN = 2


class OrderList(BoundedChangeList):
    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        exports = ErpExport.objects.filter(draft_order=OuterRef("pk"))
        latest = exports.order_by(*ErpExport.LIVE_FIRST)
        orders: QuerySet[DraftOrder] = super().get_queryset(request, exclude_parameters)
        return orders.annotate(
            total=TOTAL,
            latest_export_id=Subquery(latest.values("pk")[:1]),
            latest_export_status=Subquery(latest.values("status")[:1]),
        )

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Enough lines to say what blocks the orders of this page, in one query.
        lines = DraftOrderLine.objects.filter(order__status=Status.NEEDS_REVIEW)
        telling = lines.order_by(INCOMPLETE.desc(), "line_no")[: _REASONS_SHOWN + 1]
        self.result_list = self.result_list.prefetch_related(
            Prefetch("lines", telling, to_attr="telling_lines")
        )


class HasFailedExport(ConditionFilter):
    title = _("failed export")
    parameter_name = "failed_export"
    conditions = {
        "yes": Q(
            Exists(
                ErpExport.objects.filter(draft_order=OuterRef("pk"), status=ErpExport.Status.FAILED)
            )
        )
    }


CSV_COLUMNS: Final[Mapping[str, Callable[[Any], object]]] = {
    "id": lambda order: str(order.pk),
    "number": lambda order: order.external_order_number,
    "customer number": lambda order: order.customer and order.customer.erp_customer_number,
    "customer": lambda order: order.name_of_customer,
    "order date": lambda order: order.order_date,
    "requested delivery date": lambda order: order.requested_delivery_date,
    "total": lambda order: order.total,
    "currency": lambda order: order.currency,
    "status": lambda order: order.status,
    "approved at": lambda order: order.approved_at,
    "latest export": lambda order: order.latest_export_status,
    "created at": lambda order: order.created_at,
    "notes": lambda order: order.notes,
}


@admin.display(description=_("number"), ordering="external_order_number")
def number(order: DraftOrder) -> str:
    return str(order)


@admin.display(description=_("number"), ordering="external_order_number")
def number_in_org(order: DraftOrder) -> SafeString:
    return format_html('{} <span class="quiet">{}</span>', order, order.org)


@admin.display(description=_("total"))
def total(order: Any) -> str:
    return worth(order) or "-"


@admin.display(description=_("status"), ordering="status")
def status_and_reasons(order: Any) -> SafeString:
    if order.status != Status.NEEDS_REVIEW:
        return order_badge(order)
    reasons = blocking_reasons(order, order.telling_lines)
    shown = " ".join(reasons[:_REASONS_SHOWN]) + (" …" if reasons[_REASONS_SHOWN:] else "")
    return format_html('{} <span class="quiet">{}</span>', order_badge(order), shown)


@admin.display(description=_("latest export"))
def latest_export(order: Any) -> str:
    if order.latest_export_id is None:
        return "-"
    url = reverse("admin:exports_erpexport_change", args=[order.latest_export_id])
    return format_html('<a href="{}">{}</a>', url, export_badge(order.latest_export_status))


def worth(order: Any) -> str | None:
    """The `total` that an order is annotated with, and its currency."""
    return None if order.total is None else f"{_money(order.total)} {order.currency}"


def _money(total: Decimal) -> str:
    """Exact, with the cents that people look for: 1,234.50, 0.0875."""
    whole, _, cents = f"{total:,.12f}".partition(".")
    return f"{whole}.{cents.rstrip('0').ljust(2, '0')}"
