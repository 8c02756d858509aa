"""The admin of orders, customers and source documents: what their pages show."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from backoffice.badges import outlook_badges
from backoffice.filters import VisibleFieldListFilter
from backoffice.highlighting import highlighted
from backoffice.orders.decisions import OrderDeciding, decide_url
from backoffice.orders.editing import OrderEditing
from backoffice.orders.lists import OrderListing
from backoffice.scoping import OrgScopedAdmin, person
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.actions import DECISIONS
from exports.pushing.rendering import preview_order
from exports.reporting.outlook import Circumstances, outlook
from kernel.errors import RuleViolation
from kernel.limits import MAX_FORM_LINES
from orders import approval
from orders.content import blocking_reasons, content_hash, warnings
from orders.models import Customer, DraftOrder, SourceDocument

Status = DraftOrder.Status


@admin.register(Customer)
class CustomerAdmin(OrgScopedAdmin):
    fields = ("org", "erp_customer_number", "name")
    list_display = ("name", "erp_customer_number", "org")
    list_filter = (
        ("org", VisibleFieldListFilter),
        ("erp_customer_number", admin.EmptyFieldListFilter),
    )
    list_select_related = ("org",)
    search_fields = ("name", "erp_customer_number")

    def save_model(
        self, request: HttpRequest, obj: Customer, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        approval.customer_changed(obj)


@admin.register(SourceDocument)
class SourceDocumentAdmin(OrgScopedAdmin):
    list_display = ("file_name", "org", "created_at")
    list_filter = (("org", VisibleFieldListFilter),)
    list_select_related = ("org",)
    search_fields = ("file_name", "=sha256")

    def has_change_permission(
        self, request: HttpRequest, obj: SourceDocument | None = None
    ) -> bool:
        return False


@admin.register(DraftOrder)
class DraftOrderAdmin(OrderListing, OrderEditing, OrderDeciding):
    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "<uuid:pk>/preview/",
                self.admin_site.admin_view(self.preview_view),
                name="orders_draftorder_preview",
            ),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """What an export of the order would carry now."""
        order: DraftOrder = self.get_or_404(request, pk)
        try:
            document = preview_order(pk)
        except RuleViolation as e:
            self.message_user(request, e.message, messages.WARNING)
            return redirect("admin:orders_draftorder_change", pk)
        return self.page(
            request,
            "admin/orders/draftorder/preview.html",
            title="Preview of the export",
            original=order,
            size=len(document.content),
            document=highlighted(document.content),
        )

    def object_context(self, request: HttpRequest, obj: DraftOrder) -> dict[str, Any]:
        # Read again: a form that was refused has already changed the object.
        order = DraftOrder.objects.select_related("customer", "approved_by").get(pk=obj.pk)
        is_waiting = order.status in (Status.NEEDS_REVIEW, Status.READY)
        is_stale = (
            order.status in (Status.APPROVED, Status.ERROR)
            and content_hash(order) != order.approved_hash
        )
        exports = order.exports.select_related("erp_connection__paused_by")
        export = exports.order_by(*ErpExport.LIVE_FIRST).first()
        expected = export and outlook(export, Circumstances())
        return {
            "order": order,
            "order_badge": self.status_badge(order),
            "reasons": blocking_reasons(order) if is_waiting else [],
            "warnings": warnings(order) if is_waiting else [],
            "is_stale": is_stale,
            "is_editable": order.status in DraftOrder.EDITABLE,
            "is_too_long": order.line_count > MAX_FORM_LINES,
            "most_lines": MAX_FORM_LINES,
            "has_preview": order.status == Status.APPROVED and not is_stale,
            "export": export,
            "export_badge": export and expected and outlook_badges(export, expected),
            "outlook": expected,
            **_late_acceptance(order, export),
            "decisions": [
                (decision, decide_url(decision, order))
                for decision in DECISIONS.values()
                if (order.status in decision.offered or (is_stale and decision.name == "approve"))
                and person(request).has_perm(decision.permission)
            ],
        }


def _late_acceptance(order: DraftOrder, export: ErpExport | None) -> dict[str, Any]:
    """What the order was until the ERP accepted it late, and whether it is not what was sent."""
    if export is None or export.status != ErpExport.Status.ACKED:
        return {}
    late = export.events.filter(
        kind=ErpExportEvent.Kind.ACKED, detail__has_key="order_before"
    ).last()
    return {
        "order_before": late and Status(late.detail["order_before"]).label,
        "is_not_as_sent": bool(export.approved_hash)
        and export.approved_hash != content_hash(order),
    }
