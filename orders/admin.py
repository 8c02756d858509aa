"""Admin of orders, customers and source documents. The rules are the services'."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from accounts.scoped_admin import OrgScopedAdmin, VisibleFieldListFilter, person
from exports.badges import export_badge
from exports.decisions import DECISIONS
from exports.models import ErpExport
from orderflow.badges import Tone, badge
from orders import workflow
from orders.content import blocking_reasons, content_hash, warnings
from orders.deciding_admin import OrderDeciding, decide_url
from orders.editing_admin import OrderEditing
from orders.models import Customer, DraftOrder, SourceDocument

Status = DraftOrder.Status

_TONES = {
    Status.NEEDS_REVIEW: Tone.QUIET,
    Status.READY: Tone.BUSY,
    Status.APPROVED: Tone.BUSY,
    Status.PUSHING: Tone.BUSY,
    Status.PUSHED: Tone.GOOD,
    Status.ERROR: Tone.BAD,
    Status.REJECTED: Tone.QUIET,
}


@admin.register(Customer)
class CustomerAdmin(OrgScopedAdmin):
    fields = ("org", "erp_customer_number", "name")
    list_display = ("name", "erp_customer_number", "org")
    list_filter = (
        ("org", admin.RelatedOnlyFieldListFilter),
        ("erp_customer_number", admin.EmptyFieldListFilter),
    )
    list_select_related = ("org",)
    search_fields = ("name", "erp_customer_number")

    def save_model(
        self, request: HttpRequest, obj: Customer, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        workflow.customer_changed(obj)


@admin.register(SourceDocument)
class SourceDocumentAdmin(OrgScopedAdmin):
    list_display = ("file_name", "org", "created_at")
    list_filter = (("org", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("org",)
    search_fields = ("file_name", "=sha256")

    def has_change_permission(
        self, request: HttpRequest, obj: SourceDocument | None = None
    ) -> bool:
        return False


@admin.register(DraftOrder)
class DraftOrderAdmin(OrderEditing, OrderDeciding):
    list_display = ("number", "customer", "status_badge", "created_at", "latest_export")
    list_filter = ("status", ("org", VisibleFieldListFilter))
    list_select_related = ("customer",)
    list_per_page = 50
    search_fields = (
        "external_order_number",
        "customer__name",
        "customer_name",
        "customer__erp_customer_number",
    )
    search_help_text = "Order number, customer name or customer number"

    def get_queryset(self, request: HttpRequest) -> QuerySet[DraftOrder]:
        latest = ErpExport.objects.filter(draft_order=OuterRef("pk")).order_by("-created_at", "-id")
        orders: QuerySet[DraftOrder] = super().get_queryset(request)
        return orders.annotate(latest_export_status=Subquery(latest.values("status")[:1]))

    @admin.display(description="number", ordering="external_order_number")
    def number(self, order: DraftOrder) -> str:
        return str(order)

    @admin.display(description="status", ordering="status")
    def status_badge(self, order: DraftOrder) -> SafeString:
        return badge(order.get_status_display(), _TONES[Status(order.status)])

    @admin.display(description="latest export", ordering="latest_export_status", empty_value="-")
    def latest_export(self, order: Any) -> SafeString | None:
        status = order.latest_export_status
        return status and export_badge(status)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: DraftOrder | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context.update(self._state(request, obj.pk))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _state(self, request: HttpRequest, order_id: UUID) -> dict[str, Any]:
        """What the page says about an order beside its form."""
        # Read again: a form that was refused has already changed the object.
        order = DraftOrder.objects.select_related("customer", "approved_by").get(pk=order_id)
        is_waiting = order.status in (Status.NEEDS_REVIEW, Status.READY)
        is_stale = (
            order.status in (Status.APPROVED, Status.ERROR)
            and content_hash(order) != order.approved_hash
        )
        latest = order.exports.order_by("-created_at", "-id").first()
        return {
            "order": order,
            "order_badge": self.status_badge(order),
            "reasons": blocking_reasons(order) if is_waiting else [],
            "warnings": warnings(order) if is_waiting else [],
            "is_stale": is_stale,
            "is_editable": order.status in DraftOrder.EDITABLE,
            "export": latest,
            "export_badge": latest and export_badge(latest.status),
            "decisions": [
                (decision, decide_url(decision, order))
                for decision in DECISIONS.values()
                if (order.status in decision.offered or (is_stale and decision.name == "approve"))
                and person(request).has_perm(decision.permission)
            ],
        }
